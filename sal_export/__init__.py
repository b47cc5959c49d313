"""From a trained run to a bundle: split encoders, gates, manifest. Needs PyTorch and ONNX, the extra `export`."""
