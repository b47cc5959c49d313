"""Check on a machine with an NVIDIA GPU what cannot be checked without one, and write it down as JSON.

    pip install -e ".[trt,gpu]"                      # and ".[export]" with --run or --dataset
    python -m scripts.gpu_checks --bundle bundles/edge --out gpu.json --run runs/edge --dataset market1501

For each precision of the bundle's image encoder: the engine is built and its precision proved, its embeddings are
compared with the golden ones and with ONNX Runtime in fp32 on the CPU, from one thread and from many, and it is timed
beside ONNX Runtime on CUDA and, with --run, PyTorch. With --dataset the gate on mAP and rank-1 is passed again, by what
the GPU computes: the only proof of fp16 arithmetic. A part that fails is recorded; the exit code is 1 if any did.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sal_runtime.backend_tensorrt import TensorRTBackend, engine_key, open_tensorrt_backend, stored_engine
from sal_runtime.backends import open_backend
from sal_runtime.bundle import Bundle, open_bundle
from sal_runtime.cuda_runtime import Gpu, cuda_call, current_gpu, load_cuda
from sal_runtime.engine_key import Profile
from sal_runtime.engine_store import Mismatch, find_engine, list_engines
from sal_runtime.errors import BackendError, ParityError, SalError
from sal_runtime.images import ImageSpec, resize_image
from sal_runtime.machine_record import commit, machine
from sal_runtime.tensorrt_library import TensorRT, find_tensorrt
from scripts.engine_measures import LEAST_REPEATED, Encode, agreement, crops_of, in_batches, many_threads, speed

if TYPE_CHECKING:
    from sal_export.retrieval_gate import Task

NUM_CROPS = 256
LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.9}
"""Of the worst crop in a hundred with fp32: an engine below computes something else. Whether a precision is good enough
to search with is decided by retrieval metrics, not here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; 0 if none failed."""
    options = _options(arguments)
    try:
        library, gpu = find_tensorrt(), current_gpu()
        bundle = open_bundle(options.bundle)
        crops = drawn_crops(bundle.image_spec, NUM_CROPS)
        reference = open_backend(bundle.read_bytes(bundle.artefact("image_encoder").file)).run(crops)
    except SalError as error:
        print(f"gpu_checks: {error}", file=sys.stderr)
        return 1
    warned = _collect_warnings()
    document: dict[str, Any] = {"command": " ".join(sys.argv), "commit": commit(), "bundle": bundle.fingerprint}
    failed: list[str] = []

    def attempt(name: str, work: Callable[[], Any]) -> Any:
        print(name, file=sys.stderr)
        try:
            document[name] = work()
        except Exception as error:  # whatever it is, it belongs into the record
            document[name] = {"failed": f"{type(error).__name__}: {error}"}
            failed.append(name)
            return None
        return document[name]

    attempt("machine", lambda: machine() | versions(library, gpu))
    others = contenders(bundle, options.run, attempt)
    profile = Profile(1, min(32, options.max_batch), options.max_batch)
    task = retrieval_task_of(bundle, options) if options.dataset else None
    with tempfile.TemporaryDirectory(prefix="sal-engines-") as store:
        for artefact in (one for one in bundle.artefacts if one.role == "image_encoder" and "trt" in one.devices):
            model = bundle.read_bytes(artefact.file)
            check_precision(Path(store), library, gpu, model, artefact.precision, profile, attempt)
            if "failed" not in document[f"{artefact.precision} build"]:
                encoder = open_tensorrt_backend(model, artefact.precision, profile, Path(store))  # type: ignore[arg-type]
                check_encoder(encoder, artefact.precision, bundle, crops, reference, others, attempt)
                if task is not None:
                    check_retrieved(encoder.run, artefact.precision, task, document, attempt)
                encoder.close()
    document |= {"warnings": warned, "failed": failed}
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {options.out}; failed: {', '.join(failed) or 'nothing'}", file=sys.stderr)
    return 1 if failed else 0


def check_precision(
    store: Path,
    library: TensorRT,
    gpu: Gpu,
    model: bytes,
    precision: Any,
    profile: Profile,
    attempt: Callable[[str, Callable[[], Any]], Any],
) -> None:
    """Build the engine, prove its precision, and find it again."""

    def build() -> dict[str, Any]:
        started = time.perf_counter()
        folder = stored_engine(engine_key(library, gpu, model, precision, profile), model, store, None)
        seconds = time.perf_counter() - started
        (engine,) = (engine for engine in list_engines(store) if engine.folder == folder)
        if library.kind == "tensorrt" and engine.inspection["engine"] is None:
            raise ParityError("the engine inspector was not asked")
        return {"seconds": seconds, "bytes": engine.bytes, "proof": engine.inspection}

    def preflight() -> str:
        wanted = engine_key(library, gpu, model, precision, profile)
        if isinstance(find_engine(store, wanted), Mismatch):
            raise BackendError("the engine that was just built is not found")
        larger = Profile(profile.min_batch, profile.opt_batch, profile.max_batch + 1)
        return str(find_engine(store, engine_key(library, gpu, model, precision, larger)))

    attempt(f"{precision} build", build)
    attempt(f"{precision} preflight", preflight)


def check_encoder(
    encoder: TensorRTBackend,
    precision: str,
    bundle: Bundle,
    crops: NDArray[np.uint8],
    reference: NDArray[Any],
    others: Mapping[str, Encode],
    attempt: Callable[[str, Callable[[], Any]], Any],
) -> None:
    """Compare an engine with its references, and time it."""
    largest = encoder.profile.max_batch
    golden = bundle.golden
    attempt(
        f"{precision} golden",
        lambda: agreement(encoder.run(golden["images"]), golden["image_embeddings"], LEAST_COSINE[precision]),
    )

    def parity() -> dict[str, Any]:
        found = {}
        for size in (1, 2, 3, 17, largest, largest + 1):
            # three times: the later ones replay a CUDA graph
            runs = [in_batches(encoder.run, crops, size) for _ in range(3)]
            found[str(size)] = agreement(runs[0], reference, LEAST_COSINE[precision])
            found[str(size)]["repeated"] = min(
                agreement(run, runs[0], LEAST_REPEATED)["min_cosine"] for run in runs[1:]
            )
        return found

    attempt(f"{precision} parity", parity)
    attempt(f"{precision} threads", lambda: many_threads(encoder.run, crops))
    sizes = sorted({1, 8, 32, largest})
    attempt(
        f"{precision} speed", lambda: {str(size): speed(encoder.run, others, crops_of(crops, size)) for size in sizes}
    )


def retrieval_task_of(bundle: Bundle, options: argparse.Namespace) -> Task:
    """The evaluation protocol of a data set, as `sal export` has it."""
    from sal_export.reduced_precision import retrieval_task
    from sal_train.datasets import load_dataset

    dataset = load_dataset(options.dataset, options.data)
    attribute_encoder = bundle.read_bytes(bundle.artefact("attribute_encoder").file)
    return retrieval_task(dataset, bundle.image_spec, attribute_encoder, options.cache.expanduser())


def check_retrieved(
    encode: Encode,
    precision: str,
    task: Task,
    document: Mapping[str, Any],
    attempt: Callable[[str, Callable[[], Any]], Any],
) -> None:
    """What an engine finds, and whether it lost too much against the fp32 engine, which comes first."""
    from sal_export.retrieval_gate import Retrieval, check_retrieval, measure_retrieval

    def retrieval() -> dict[str, Any]:
        found = measure_retrieval(f"{precision} engine", encode, task, Console(stderr=True))
        if precision != "fp32":
            check_retrieval(f"{precision} engine", precision, Retrieval(**document["fp32 retrieval"]), found)
        return found.to_json()

    attempt(f"{precision} retrieval", retrieval)


def drawn_crops(spec: ImageSpec, count: int) -> NDArray[np.uint8]:
    """Drawn pedestrians uint8 [count, H, W, 3], always the same."""
    from sal_train.datasets.synthetic import draw_people, render_pedestrian

    rng = np.random.default_rng(0)
    return np.stack([resize_image(render_pedestrian(person, rng), spec) for person in draw_people(count, rng)])


def contenders(bundle: Bundle, run: Path | None, attempt: Callable[[str, Callable[[], Any]], Any]) -> dict[str, Encode]:
    """What the engine is compared with, in fp32; why one is missing goes into the record."""
    found: dict[str, Encode] = {}

    def onnxruntime_cuda() -> str:
        try:
            model = bundle.read_bytes(bundle.artefact("image_encoder").file)
            found["onnxruntime_cuda_fp32"] = open_backend(model, "cuda").run
        except BackendError as error:
            return f"left out: {error}"
        return "there"

    def pytorch() -> str:
        if run is None:
            return "left out: no --run given"
        found["pytorch_eager_fp32"] = _pytorch_encoder(run)
        return "there"

    attempt("onnxruntime on cuda", onnxruntime_cuda)
    attempt("pytorch", pytorch)
    return found


def _pytorch_encoder(run: Path) -> Encode:
    import torch

    from sal_export.encoders import DeployedImageEncoder
    from sal_train.checkpoint import load_run

    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
    module = DeployedImageEncoder(load_run(run).networks).eval().cuda()

    def encode(batch: NDArray[np.uint8]) -> NDArray[Any]:
        with torch.inference_mode():
            embeddings: NDArray[Any] = module(torch.from_numpy(batch).cuda()).cpu().numpy()
        return embeddings

    return encode


def versions(library: TensorRT, gpu: Gpu) -> dict[str, Any]:
    """Of everything between the encoder and the silicon."""
    cuda = load_cuda()
    return {
        "library": library.title,
        "gpu": asdict(gpu),
        "cuda_runtime": cuda_call(cuda.cudaRuntimeGetVersion),
        "cuda_driver": cuda_call(cuda.cudaDriverGetVersion),
    }


def _collect_warnings() -> list[str]:
    collected: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            collected.append(record.getMessage())

    logging.getLogger("sal_runtime").addHandler(Handler(logging.WARNING))
    return collected


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu_checks", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle whose image encoders are checked")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--run", type=Path, help="the training run of the bundle, for the comparison with PyTorch")
    parser.add_argument("--dataset", help="that the bundle was trained on, to pass the gate on retrieval again")
    parser.add_argument("--data", type=Path, default=Path(), help="folder that holds the data set")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/sal"), help="of decoded images")
    parser.add_argument("--max-batch", type=int, default=64, help="largest batch of the engines (default: 64)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
