"""From a trained run to a bundle: split encoders, gates, manifest. Needs the extra `export`.

package.py      `sal export`: a run to a bundle, through the gates
encoders.py     the two modules that are deployed
heads.py        the attribute head, adapted to unit vectors
onnx_export.py  a PyTorch module to one .onnx file
exported.py     an encoder on its way into a bundle
publish.py      writing the bundle (bundle_writing.py: any bundle)
model_card.py   training data, test numbers, limits and licence of a bundle, for its users
engines.py      TensorRT engines, built ahead of their first use

The rooms:

precisions/  fp16 and int8
gates/       tests that an encoder must pass before it is published
interop/     signatures; configurations for Triton and DeepStream
"""
