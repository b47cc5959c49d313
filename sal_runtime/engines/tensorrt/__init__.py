"""TensorRT and TensorRT-RTX: engines are built once, kept in a store, verified before they run.

backend.py    an encoder on TensorRT
library.py    which TensorRT library is installed, and what it can build for
build.py      from .onnx to an engine plan
precision.py  the precision that an engine has been built in, proven
stream.py     running a plan with buffers and a CUDA graph
key.py        what decides whether an engine fits
store.py      built engines on this machine
cuda.py       the few calls of the CUDA runtime that are needed
"""
