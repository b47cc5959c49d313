"""TensorRT and TensorRT-RTX: engines are built once, stored, and verified before they run.

Experimental: has not run on a GPU yet. Tests build engines with TensorRT-RTX, which needs no GPU for that, and run
the backend on fake libraries.

backend.py    an encoder on TensorRT
library.py    which TensorRT library is installed, and its messages
build.py      from .onnx to an engine plan
precision.py  proof of the precision that an engine was built in
stream.py     runs a plan with its buffers and CUDA graphs
key.py        what decides whether an engine fits
store.py      built engines on this machine
cuda.py       the few calls of the CUDA runtime that are needed
"""
