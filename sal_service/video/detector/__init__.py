"""A person detector in an ONNX file."""
