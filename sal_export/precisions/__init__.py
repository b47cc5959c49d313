"""The image encoder in fp16 and int8.

reduced_precision.py  made, compared with fp32, and let through only if it finds what fp32 finds
half_precision.py     fp16, with everything sensitive or small in fp32
int8.py               Quantize/Dequantize nodes, with several calibrations to choose from
activation_ranges.py  ranges of activations with the least squared error
bias_correction.py    biases that make up for the rounding of weights
observed_graph.py     constants and activations of an ONNX graph
"""
