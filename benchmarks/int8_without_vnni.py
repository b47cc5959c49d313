"""Agreement of the shipped int8 encoder with fp32, with and without ONNX Runtime's exact products (docs/bundle.md).

    python -m benchmarks.int8_without_vnni --processor "with VNNI"
    qemu-x86_64 -cpu Haswell .venv/bin/python -m benchmarks.int8_without_vnni --processor Haswell

The crops are those of the demo gallery. The second line emulates a processor with AVX2 and without VNNI, which takes
minutes; its seconds say nothing about a real one. Each processor has an entry in results/int8_without_vnni.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.bundle.bundle import IMAGE_ROLE, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.doctor.machine import command_line, cpu_name, versions
from sal_runtime.engines.installed import import_onnxruntime
from sal_runtime.engines.int8_products import EXACT_INT8
from sal_runtime.engines.onnx import CPU
from sal_runtime.images.pixels import load_image

REPOSITORY = Path(__file__).parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "int8_without_vnni.json"
CROPS = 64


def main() -> None:
    """Measure on this processor and add it to the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", required=True, help="its name in the result; an emulator hides the real one")
    processor = parser.parse_args().processor
    bundle = open_bundle(default_bundle_path())
    paths = sorted((REPOSITORY / "demo" / "gallery").glob("*.jpg"))
    crops = np.stack([load_image(path, bundle.image_spec) for path in paths[:: len(paths) // CROPS][:CROPS]])
    fp32, int8 = (bundle.artefact(IMAGE_ROLE, precision=precision).file for precision in ("fp32", "int8"))
    wanted = embed(bundle.read_bytes(fp32), crops, exact=False)
    cosines = {
        name: (wanted * embed(bundle.read_bytes(int8), crops, exact=exact)).sum(axis=1)
        for name, exact in (("default", False), ("exact", True))
    }
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    result[processor] = {
        "command": command_line(("python", "-m", "benchmarks.int8_without_vnni", *sys.argv[1:])),
        "host": cpu_name(),
        "versions": versions(),
        "crops": len(crops),
        **{name: {"mean": float(values.mean()), "min": float(values.min())} for name, values in cosines.items()},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result[processor], indent=2))


def embed(model: bytes, crops: UInt8Array, *, exact: bool) -> Float32Array:
    """Embeddings by ONNX Runtime on one core, float32 `[N, d]`; with its defaults or with exact products."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if exact:
        options.add_session_config_entry(*EXACT_INT8)
    session = onnxruntime.InferenceSession(model, options, providers=[CPU])
    embeddings: Float32Array = session.run(None, {"images": crops})[0]
    return embeddings


if __name__ == "__main__":
    main()
