"""From a trained run to a bundle: split encoders, gates, manifest. Needs PyTorch and ONNX (the extra `export`).

package.py            `sal export`: a run to a bundle, through the gates
encoders.py           the two modules that are deployed
heads.py              the attribute head, made to work on unit vectors
onnx_export.py        a PyTorch module to one .onnx file
exported.py           an encoder on its way into a bundle
publish.py            writing the bundle
model_card.py         what a person must know before using it
engines.py            TensorRT engines, built ahead of their first use

The rooms:

precisions/  fp16 and int8
gates/       what an encoder must fulfil before it is published
interop/     signatures; configurations of Triton and DeepStream
"""
