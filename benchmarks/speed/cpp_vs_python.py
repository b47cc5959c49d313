"""Throughput and golden embeddings of the same encoders, from C++ and from Python in turn.

    cmake -S cpp_bench -B build/cpp_bench && cmake --build build/cpp_bench
    python -m benchmarks.speed.cpp_vs_python build/cpp_bench/sal_bench [BUNDLE [BATCH]]

Both use the ONNX Runtime library of this environment with the same settings. Limits: embeddings within 1e-4, throughput
within 5 %.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.speed.measurement import in_turn, ratio, summary, write_result
from sal_cli.bench.engine import BenchOptions, bench_engine
from sal_cli.bench.timing import TimingSettings
from sal_runtime.arrays import Precision
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.engines.installed import import_onnxruntime

ROUNDS = 15
SECONDS = 1.0
BATCH = 16


def main() -> None:
    """Measure and write the result."""
    program = Path(sys.argv[1]).resolve()
    bundle = open_bundle(sys.argv[2] if len(sys.argv) > 2 else default_bundle_path())
    batch = int(sys.argv[3]) if len(sys.argv) > 3 else BATCH
    (library,) = Path(str(import_onnxruntime().__file__)).parent.glob("capi/libonnxruntime.so.*")
    native = [str(program), "--onnxruntime", str(library), "--bundle", str(bundle.path), "--json", "-"]
    precisions = [one.precision for one in bundle.artefacts if one.role == IMAGE_ROLE and "cpu" in one.devices]
    differences = _differences(native, bundle, precisions)
    cpp = [*native, "--batch", str(batch), "--threads", str(os.cpu_count()), "--min-seconds", str(SECONDS)]
    # without PyTorch, whose idle threads would take time from the others
    options = BenchOptions(None, ("cpu",), (batch,), os.cpu_count() or 1, TimingSettings(min_seconds=SECONDS))
    speeds: dict[str, dict[str, list[float]]] = {precision: {"cpp": [], "python": []} for precision in precisions}

    def measure(side: str, rows: dict[str, float]) -> float:
        for precision in precisions:
            speeds[precision][side].append(rows[precision])
        return rows[precisions[0]]

    sides = {
        "cpp": lambda: measure("cpp", _cpp_rows(cpp)),
        "python": lambda: measure("python", _python_rows(bundle, options)),
    }
    in_turn(sides, ROUNDS, warmup=0)
    write_result(
        "cpp_vs_python" if len(sys.argv) < 3 else f"cpp_vs_python_{bundle.name}",
        {
            "bundle": f"{bundle.name} ({bundle.fingerprint[:12]})",
            "batch": batch,
            "rounds": ROUNDS,
            "images_per_second": {
                precision: {side: summary(values) for side, values in measured.items()}
                for precision, measured in speeds.items()
            },
            "cpp_to_python": {
                precision: ratio(measured["cpp"], measured["python"]) for precision, measured in speeds.items()
            },
            "largest_difference_of_golden_embeddings": differences,
            "limits": {"throughput": 0.05, "embeddings": 1e-4},
        },
    )


def _cpp_rows(command: list[str]) -> dict[str, float]:
    """Images per second by precision."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)["rows"]
    return {row["precision"]: row["throughput"] for row in rows if row["artefact"].startswith(IMAGE_ROLE)}


def _python_rows(bundle: Bundle, options: BenchOptions) -> dict[str, float]:
    rows = bench_engine(bundle, options).rows
    return {row.contender.precision: row.throughput for row in rows if row.contender.role == IMAGE_ROLE}


def _differences(native: list[str], bundle: Bundle, precisions: list[Precision]) -> dict[Precision, float]:
    """Largest difference of a coordinate between the embeddings that both give the golden crops."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        quick = [*native, "--batch", "1", "--min-seconds", "0.01", "--dump-golden", folder]
        subprocess.run(quick, check=True, capture_output=True)
        for precision in precisions:
            file = bundle.artefact(IMAGE_ROLE, precision=precision).file
            from_cpp = np.load(Path(folder, f"{file}.npy"), allow_pickle=False)
            from_python = ImageEncoder(bundle, precision=precision).encode(bundle.golden["images"])
            found[precision] = float(np.abs(from_cpp - from_python).max())
    return found


if __name__ == "__main__":
    main()
