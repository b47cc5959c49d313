"""A bundle for other programs.

signing.py            a detached signature in the format of OpenSSF Model Signing
triton.py             a model repository for Triton Inference Server
deepstream.py         a configuration for DeepStream's Gst-nvinfer
written_directory.py  a directory of files, replaced in one step
"""
