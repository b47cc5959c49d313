"""What the shipped int8 encoder loses on a processor without VNNI, with and without ONNX Runtime's exact products.

    python -m benchmarks.int8_without_vnni --processor "with VNNI" --data DATA
    python -m benchmarks.int8_without_vnni --processor Haswell --data DATA

Every name but the first is a processor that `qemu-x86_64` emulates; only the encoding runs there, which takes half an
hour, and its seconds say nothing about a real one. The crops and the queries are those of PETA's test split, in the
words of the street; fp32 is computed here. Each processor has an entry in results/int8_without_vnni.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.doctor.machine import command_line, cpu_name, versions
from sal_runtime.engines.devices import open_backend
from sal_runtime.engines.installed import import_onnxruntime
from sal_runtime.engines.int8_products import EXACT_INT8
from sal_runtime.engines.onnx import CPU
from sal_runtime.files import cache_folder

REPOSITORY = Path(__file__).parents[1]
RESULT = REPOSITORY / "benchmarks" / "results" / "int8_without_vnni.json"
THIS = "with VNNI"
SESSIONS = {"default": False, "exact": True}
BATCH = 16


def main() -> None:
    """Encode on the processor, compare here, and add it to the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", help=f'"{THIS}" for this one, or one that QEMU emulates')
    parser.add_argument("--data", type=Path, help="folder of PETA")
    parser.add_argument("--encode", type=Path, nargs=2, help="crops (.npy) to encode here, and the .npz to write")
    given = parser.parse_args()
    if given.encode:
        encode(*given.encode)
        return
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    result[given.processor] = measure(given.processor, given.data)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result[given.processor], indent=2))


def encode(crops: Path, out: Path) -> None:
    """Embeddings of crops by the int8 encoder on this processor, with default and with exact products."""
    bundle = open_bundle(default_bundle_path())
    model = bundle.read_bytes(bundle.artefact(IMAGE_ROLE, precision="int8").file)
    images = np.load(crops, allow_pickle=False)
    embeddings: dict[str, Any] = {name: embed(model, images, exact=exact) for name, exact in SESSIONS.items()}
    np.savez(out, **embeddings)


def embed(model: bytes, crops: UInt8Array, *, exact: bool) -> Float32Array:
    """Embeddings by ONNX Runtime on one core, float32 `[N, d]`; with its defaults or with exact products."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if exact:
        options.add_session_config_entry(*EXACT_INT8)
    session = onnxruntime.InferenceSession(model, options, providers=[CPU])
    starts = range(0, len(crops), BATCH)
    return np.concatenate([session.run(None, {"images": crops[start : start + BATCH]})[0] for start in starts])


def measure(processor: str, data: Path) -> dict[str, Any]:
    """The losses on one processor against fp32 on this one."""
    from rich.console import Console

    from sal_export.gates.retrieval import loss_of, measure_retrieval
    from sal_export.precisions.reduced_precision import retrieval_task
    from sal_train.datasets.load import load_dataset

    bundle = open_bundle(default_bundle_path())
    attribute_encoder = bundle.read_bytes(bundle.artefact(ATTRIBUTE_ROLE).file)
    dataset = load_dataset("peta", data)
    task = retrieval_task(dataset, bundle.statistics, bundle.image_spec, attribute_encoder, cache_folder())
    crops = np.asarray(task.images)
    emulator = [] if processor == THIS else ["qemu-x86_64", "-cpu", processor]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "crops.npy"), crops)
        command = [*emulator, sys.executable, "-m", "benchmarks.int8_without_vnni"]
        command += ["--encode", f"{folder}/crops.npy", f"{folder}/embeddings.npz"]
        subprocess.run(command, check=True, cwd=REPOSITORY)
        with np.load(Path(folder, "embeddings.npz"), allow_pickle=False) as arrays:
            embeddings = dict(arrays)
    console = Console(stderr=True)
    backend = open_backend(bundle.read_bytes(bundle.artefact(IMAGE_ROLE).file))
    exact = np.concatenate([backend.run(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)])
    retrieval = {
        name: measure_retrieval(name, _already_encoded(found), task, console)
        for name, found in {"fp32": exact, **embeddings}.items()
    }
    losses = {name: loss_of(retrieval["fp32"], retrieval[name]) for name in SESSIONS}
    cosines = {name: (exact * embeddings[name]).sum(axis=1) for name in SESSIONS}
    return {
        "command": command_line(("python", "-m", "benchmarks.int8_without_vnni", *sys.argv[1:])),
        "host": cpu_name(),
        "emulator": _version(emulator),
        "versions": versions(),
        "data": retrieval["fp32"].data,
        "crops": len(crops),
        "queries": retrieval["fp32"].num_queries,
        "fp32": {"mAP": retrieval["fp32"].mAP, "rank1": retrieval["fp32"].rank1},
        **{
            name: {
                "mean": float(cosines[name].mean()),
                "min": float(cosines[name].min()),
                "mAP_lost": losses[name].mAP,
                "rank1_lost": losses[name].rank1,
            }
            for name in SESSIONS
        },
    }


def _already_encoded(embeddings: Float32Array) -> Any:
    """An encoder that hands out embeddings in the order in which their crops are asked for."""
    waiting = iter(embeddings)
    return lambda batch: np.stack([next(waiting) for _ in batch])


def _version(emulator: list[str]) -> str:
    if not emulator:
        return ""
    return subprocess.run([emulator[0], "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]


if __name__ == "__main__":
    main()
