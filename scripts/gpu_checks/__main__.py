"""Check every encoder of a bundle on an NVIDIA GPU, and record the results as JSON.

    python -m scripts.gpu_checks --bundle bundles/edge --out gpu.json --run runs/edge --dataset market1501

The encoders are those of PyTorch (with --run) in fp32, fp16 and fp16 as CUDA graphs, of ONNX Runtime on CUDA, and of
TensorRT, whose engines are built here and their precision proven. A library that is missing is recorded with the
reason. Each encoder is compared with the golden embeddings and with fp32 on the CPU, from one thread and from many. All
are timed in turn; with PyTorch, the speed is also given as a share of the fastest matrix product. With --dataset the
embeddings of the GPU pass the gate on mAP and rank-1 again: only that proves fp16 arithmetic.

It needs numpy and one of: PyTorch with safetensors and --run; ONNX Runtime with CUDA; TensorRT. --dataset also needs
ONNX Runtime, onnx, rich and OpenCV.

The file is written after every part, so an interrupted run keeps its results. A part that fails is recorded, and the
exit code is then 1. `--device cpu` rehearses: it runs the same code without a GPU on fewer crops, and its times mean
nothing. Choose a small --max-batch for it, because a CPU is slow in fp16.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_cli.bench.record import commit
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, Bundle, open_bundle
from sal_runtime.doctor.machine import command_line, find_gpus, machine, versions
from sal_runtime.engines.devices import open_backend
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.errors import BackendError, SalError
from sal_runtime.files import cache_folder
from scripts.gpu_checks.checks import SPEED_BATCHES, check_encoder, check_retrieved, check_speed
from scripts.gpu_checks.crops import plain_crops
from scripts.gpu_checks.libraries import LIBRARIES, Subject
from scripts.gpu_checks.measures import CheckedEncoder, Limits, in_batches
from scripts.gpu_checks.record import Record

if TYPE_CHECKING:
    from torch import nn

    from sal_export.gates.retrieval import Task

NUM_CROPS = 256
REFERENCE_BATCH = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; 0 if every part succeeded, else 1."""
    options = _options(arguments)
    try:
        with ExitStack() as opened:
            record = run_checks(options, opened)
    except SalError as error:
        print(f"gpu_checks: {error}", file=sys.stderr)
        return 1
    print(f"wrote {options.out}; failed: {', '.join(record.failed) or 'nothing'}", file=sys.stderr)
    return 1 if record.failed else 0


def run_checks(options: argparse.Namespace, opened: ExitStack) -> Record:
    """Run all parts with every library that works.

    Raises:
        SalError: the bundle or the run cannot be read, or no library works; nothing was written.
    """
    bundle = open_bundle(options.bundle)
    rehearsal = options.device == "cpu"
    crops = plain_crops(bundle.image_spec, options.max_batch + 2 if rehearsal else NUM_CROPS)
    profile = Profile(1, min(32, options.max_batch), options.max_batch)
    store = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="sal-engines-")))
    subject = Subject(bundle, modules_of(options.run), options.device, profile, store)
    reference, source = embed_on_cpu(subject, crops)
    record = Record(
        options.out,
        {
            "command": command_line(("python", "-m", "scripts.gpu_checks", *sys.argv[1:])),
            "commit": commit(),
            "bundle": bundle.fingerprint,
            "rehearsal": rehearsal,
            "reference": source,
        },
    )
    record.parts["warnings"] = _collect_warnings()
    encoders = open_encoders(subject, record, opened)
    record.attempt("machine", lambda: machine() | {"gpus": [asdict(gpu) for gpu in find_gpus()[0]]} | versions())
    limits = measure_limits(subject, record)
    running = [
        encoder for encoder in encoders if check_encoder(encoder, bundle, crops, reference, options.max_batch, record)
    ]
    sizes = sorted({*SPEED_BATCHES[: 2 if rehearsal else None], options.max_batch})
    check_speed(running, crops, sizes, options.seconds, limits, record)
    if options.dataset:
        check_retrieval_of(running, bundle, options, record)
    record.write(finished=True)
    return record


def modules_of(run: Path | None) -> Mapping[str, nn.Module] | str:
    """The image encoder of a run in PyTorch by precision, or the reason why it is missing.

    Raises:
        InputError: the folder is not a finished run.
    """
    if run is None:
        return "no --run given"
    try:
        from scripts.gpu_checks.pytorch import load_modules
    except ImportError as error:
        return f"PyTorch cannot be imported ({error})"
    return load_modules(run)


def embed_on_cpu(subject: Subject, crops: NDArray[np.uint8]) -> tuple[NDArray[Any], str]:
    """Reference embeddings in fp32 on the CPU, and the library that computed them.

    The library is ONNX Runtime, or PyTorch if ONNX Runtime is missing.

    Raises:
        BackendError: both are missing.
    """
    bundle = subject.bundle
    try:
        backend = open_backend(bundle.read_bytes(bundle.artefact(IMAGE_ROLE).file))
    except BackendError as error:
        if isinstance(subject.modules, str):
            raise BackendError(f"no reference on the CPU: {error}; pytorch: {subject.modules}") from error
        from scripts.gpu_checks.pytorch import EagerEncoder

        encode = EagerEncoder(subject.modules["fp32"], "cpu").encode
        return in_batches(encode, crops, REFERENCE_BATCH), f"pytorch fp32 on the CPU; {error}"
    return in_batches(backend.run, crops, REFERENCE_BATCH), "onnxruntime fp32 on the CPU"


def open_encoders(subject: Subject, record: Record, opened: ExitStack) -> list[CheckedEncoder]:
    """The encoders of all libraries; the record gets the reason if a library is missing.

    Raises:
        BackendError: no library works on the device.
    """
    encoders: list[CheckedEncoder] = []
    reasons: list[str] = []
    for library, open_library in LIBRARIES.items():
        try:
            encoders += open_library(subject, record, opened)
        except BackendError as error:
            record.leave_out(library, error)
            reasons.append(f"{library}: {error}")
    if len(reasons) == len(LIBRARIES):
        raise BackendError(f"nothing runs on {subject.device} here: {'; '.join(reasons)}")
    return encoders


def measure_limits(subject: Subject, record: Record) -> Limits | None:
    """The limits of the device and the operations of the encoder; None without PyTorch on that device."""
    if isinstance(subject.modules, str) or isinstance(record.parts["pytorch"], str):
        record.leave_out("limits", "they are measured with PyTorch")
        return None
    from scripts.gpu_checks.limits import copy_gb_per_second, count_flops, matmul_tflops

    module, device = subject.modules["fp32"], subject.device

    def measure() -> dict[str, Any]:
        return {
            "flops_per_image": count_flops(module, subject.bundle.image_spec),
            "matmul_tflops": matmul_tflops(device),
            "copy_gb_per_second": copy_gb_per_second(device),
        }

    found = record.attempt("limits", measure)
    return None if found is None else Limits(found["flops_per_image"], found["matmul_tflops"])


def check_retrieval_of(
    encoders: Sequence[CheckedEncoder], bundle: Bundle, options: argparse.Namespace, record: Record
) -> None:
    """Pass all encoders through the gate on retrieval, with the protocol of `sal export`."""
    tasks: list[Task] = []

    def prepare() -> dict[str, int]:
        from sal_export.precisions.reduced_precision import retrieval_task
        from sal_train.datasets import load_dataset

        dataset = load_dataset(options.dataset, options.data)
        attribute_encoder = bundle.read_bytes(bundle.artefact(ATTRIBUTE_ROLE).file)
        tasks.append(retrieval_task(dataset, bundle.statistics, bundle.image_spec, attribute_encoder, options.cache))
        return {"images": len(tasks[0].images), "queries": len(tasks[0].queries)}

    if record.attempt("retrieval data", prepare) is None:
        return
    first: str | None = None
    for encoder in encoders:
        first = check_retrieved(encoder, tasks[0], first, record)


def _collect_warnings() -> list[str]:
    """A list that receives every later warning of sal_runtime."""
    collected: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            collected.append(record.getMessage())

    logging.getLogger("sal_runtime").addHandler(Handler(logging.WARNING))
    return collected


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.gpu_checks", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle whose image encoders are checked")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--run", type=Path, help="the training run of the bundle, for PyTorch")
    parser.add_argument("--dataset", help="data set of the bundle; passes the gate on retrieval again")
    parser.add_argument("--data", type=Path, default=Path(), help="folder that holds the data set")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="folder for decoded images")
    parser.add_argument("--max-batch", type=int, default=64, help="largest batch of the engines (default: 64)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="least time to measure each encoder and batch size (default: 1)"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is a rehearsal without a GPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
