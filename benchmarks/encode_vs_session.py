"""Encoding a directory of JPEG files against the bare ONNX Runtime session on the same batches, images a second.

    python -m benchmarks.encode_vs_session

The directory side lists, hashes, decodes, resizes, encodes and stores in a gallery file; the session side only runs
the graph on arrays that are in memory already. The wanted ratio is at least 0.9.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.measurement import in_turn, ratio, seconds, summary, write_result
from sal_runtime.bundle import open_bundle
from sal_runtime.default_bundle import default_bundle_path
from sal_runtime.encoders import DEFAULT_BATCH_SIZE, ImageEncoder
from sal_runtime.folder_gallery import gallery_path_for, sync_folder
from sal_runtime.images import load_image

REPOSITORY = Path(__file__).parents[1]
COPIES = 4
ROUNDS = 7


def main() -> None:
    """Measure and write the result."""
    bundle = open_bundle(default_bundle_path())
    encoder = ImageEncoder(bundle)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        bundle.read_bytes(bundle.artefact("image_encoder").file), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        for copy in range(COPIES):
            shutil.copytree(REPOSITORY / "demo" / "gallery", images / str(copy))
        paths = sorted(images.rglob("*.jpg"))
        pixels = np.stack([load_image(path, bundle.image_spec) for path in paths])
        batches = [pixels[start : start + DEFAULT_BATCH_SIZE] for start in range(0, len(pixels), DEFAULT_BATCH_SIZE)]

        def directory() -> float:
            gallery_path = gallery_path_for(images)
            for file in gallery_path.parent.glob(gallery_path.name + "*"):
                file.unlink()
            return len(paths) / seconds(lambda: sync_folder(images, bundle, encoder.encode))

        def bare_session() -> float:
            return len(paths) / seconds(lambda: [session.run(None, {name: batch}) for batch in batches])

        speed = in_turn({"directory": directory, "session": bare_session}, ROUNDS)
    write_result(
        "encode_vs_session",
        {
            "bundle": bundle.fingerprint[:12],
            "images": len(paths),
            "batch_size": DEFAULT_BATCH_SIZE,
            "rounds": ROUNDS,
            "images_per_second": {side: summary(values) for side, values in speed.items()},
            "directory_to_session": ratio(speed["directory"], speed["session"]),
            "limit": 0.9,
        },
    )


if __name__ == "__main__":
    main()
