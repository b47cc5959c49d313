"""Checks that need an NVIDIA GPU, recorded as JSON: `python -m scripts.gpu_checks --help`.

__main__.py   the command: every part in order
libraries.py  the encoders of PyTorch, ONNX Runtime and TensorRT that open on this machine
checks.py     the checks of one encoder: golden embeddings, parity, threads, speed, retrieval
measures.py   agreement with a reference, runs from many threads, speed in turn
pytorch.py    a run's image encoder in PyTorch, eager and as CUDA graphs
half_network.py  PyTorch's own fp16 network, the peer of the exported one
limits.py     the fastest matrix product and copy of the device
crops.py      people drawn with numpy alone
record.py     the JSON document, written after every part
"""
