"""Encoding a directory of JPEG files against the bare ONNX Runtime session on the same batches, images a second.

    python -m benchmarks.encode_vs_session [BUNDLE [COPIES]]

The directory side lists, hashes, decodes, resizes, encodes and stores in a gallery file; the session side only runs
the graph on arrays that are in memory already. The wanted ratio is at least 0.9.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.measurement import in_turn, ratio, seconds, summary, write_result
from sal_runtime.bundle import open_bundle
from sal_runtime.default_bundle import default_bundle_path
from sal_runtime.encoders import DEFAULT_BATCH_SIZE
from sal_runtime.folder_gallery import gallery_path_for, sync_folder
from sal_runtime.images import load_image
from sal_runtime.person_search import image_encoder

REPOSITORY = Path(__file__).parents[1]
COPIES = 16
ROUNDS = 9


def main() -> None:
    """Measure and write the result."""
    bundle = open_bundle(sys.argv[1] if len(sys.argv) > 1 else default_bundle_path())
    copies = int(sys.argv[2]) if len(sys.argv) > 2 else COPIES
    encode = image_encoder(bundle, "cpu")
    encode(np.zeros((1, bundle.image_spec.height, bundle.image_spec.width, 3), dtype=np.uint8))  # makes the session
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        bundle.read_bytes(bundle.artefact("image_encoder").file), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        for copy in range(copies):
            shutil.copytree(REPOSITORY / "demo" / "gallery", images / str(copy))
        paths = sorted(images.rglob("*.jpg"))
        pixels = np.stack([load_image(path, bundle.image_spec) for path in paths])
        batches = [pixels[start : start + DEFAULT_BATCH_SIZE] for start in range(0, len(pixels), DEFAULT_BATCH_SIZE)]

        def directory() -> float:
            gallery_path = gallery_path_for(images)
            for file in gallery_path.parent.glob(gallery_path.name + "*"):
                file.unlink()
            return len(paths) / seconds(lambda: sync_folder(images, bundle, encode))

        def bare_session() -> float:
            return len(paths) / seconds(lambda: [session.run(None, {name: batch}) for batch in batches])

        speed = in_turn({"directory": directory, "session": bare_session}, ROUNDS)
    write_result(
        "encode_vs_session" if len(sys.argv) == 1 else f"encode_vs_session_{bundle.name}",
        {
            "bundle": f"{bundle.name} ({bundle.fingerprint[:12]})",
            "backbone": bundle.manifest["training"]["backbone"],
            "input": [bundle.image_spec.height, bundle.image_spec.width],
            "images": len(paths),
            "batch_size": DEFAULT_BATCH_SIZE,
            "rounds": ROUNDS,
            "images_per_second": {side: summary(values) for side, values in speed.items()},
            "directory_to_session": ratio(speed["directory"], speed["session"]),
            "best_to_best": max(speed["directory"]) / max(speed["session"]),
            "limit": 0.9,
        },
    )


if __name__ == "__main__":
    main()
