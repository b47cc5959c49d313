"""The tiny bundle with what later versions add to bundles: more precisions, a stated architecture."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from sal_export.bundle_writing import write_bundle
from sal_runtime.bundle.bundle import Bundle, open_bundle
from tests.runtime.tiny_bundle import make_tiny_bundle


def make_varied_bundle(
    directory: Path, precisions: tuple[str, ...] = (), model: dict[str, Any] | None = None
) -> Bundle:
    """Write it; the encoders of `precisions` are the fp32 graph under another name, `model` is `training.model`."""
    bundle = open_bundle(make_tiny_bundle(directory))
    manifest = copy.deepcopy(dict(bundle.manifest))
    files = {file: bundle.read_bytes(file) for file in manifest["files"]}
    for precision in precisions:
        file = f"image_encoder.{precision}.onnx"
        files[file] = files["image_encoder.onnx"]
        manifest["artefacts"].append({"role": "image_encoder", "file": file, "precision": precision})
    if model is not None:
        manifest["training"]["model"] = model
    return write_bundle(directory, manifest, files)
