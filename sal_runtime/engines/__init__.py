"""Runs the bytes of an .onnx file as `run(batch)` on exactly the device that was requested.

devices.py        the devices, and how a graph is opened on one
onnx.py           ONNX Runtime on CPU and CUDA
int8_products.py  products of int8 that do not saturate
installed.py      installed packages that decide what can run
tensorrt/         TensorRT and TensorRT-RTX
"""
