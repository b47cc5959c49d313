"""The image encoder in fp16 and int8.

reduced_precision.py  makes the encoders and sends them through the gates
half_precision.py     fp16: the trunk in half precision, everything sensitive or small in fp32
int8.py               int8 by Quantize/Dequantize nodes; several calibrations to choose from
activation_ranges.py  ranges of activations with the least squared error
bias_correction.py    biases that compensate the rounding of weights
observed_graph.py     constants and activations of an ONNX graph
"""
