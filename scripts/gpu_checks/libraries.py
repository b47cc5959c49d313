"""The encoders of every library that works on this machine, opened on the requested device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_runtime.arrays import Precision
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle
from sal_runtime.engines.devices import open_backend
from sal_runtime.engines.tensorrt.backend import engine_key, open_tensorrt_backend, prepare_engine
from sal_runtime.engines.tensorrt.cuda import CudaDevice, cuda_call, current_gpu, load_cuda
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.library import TensorRT, find_tensorrt
from sal_runtime.engines.tensorrt.store import Mismatch, find_engine, list_engines
from sal_runtime.errors import BackendError, ParityError
from scripts.gpu_checks.measures import CheckedEncoder
from scripts.gpu_checks.record import Record

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Subject:
    """A bundle and the device to check it on.

    Attributes:
        bundle: the bundle whose artefacts run.
        modules: the image encoder of its training run by precision, in PyTorch on the CPU; or why it is missing.
        device: `cuda`, or `cpu` for a rehearsal.
        profile: batch sizes of the TensorRT engines.
        store: folder of these engines.
    """

    bundle: Bundle
    modules: Mapping[str, nn.Module] | str
    device: str
    profile: Profile
    store: Path


def pytorch_encoders(subject: Subject, record: Record, opened: ExitStack) -> list[CheckedEncoder]:
    """The run's image encoder: eager in fp32 and fp16, and in fp16 as CUDA graphs.

    Raises:
        BackendError: PyTorch, a run or the device is missing.
    """
    modules = subject.modules
    if isinstance(modules, str):
        raise BackendError(modules)
    from scripts.gpu_checks.pytorch import check_device, describe, eager_encoder, graph_encoder

    check_device(subject.device)
    record.parts["pytorch"] = describe(subject.device)
    fp32, fp16 = modules["fp32"], modules["fp16"]
    found = opened_one(record, "pytorch fp32", lambda: eager_encoder("pytorch fp32", "fp32", fp32, subject.device))
    found += opened_one(record, "pytorch fp16", lambda: eager_encoder("pytorch fp16", "fp16", fp16, subject.device))
    if subject.device == "cuda":
        name = "pytorch fp16 graph"
        found += opened_one(record, name, lambda: graph_encoder(name, "fp16", fp16))
    return found


def onnxruntime_encoders(subject: Subject, record: Record, opened: ExitStack) -> list[CheckedEncoder]:
    """The bundle's image encoders that are meant for the device.

    Raises:
        BackendError: ONNX Runtime cannot run the fp32 encoder on the device.
    """
    device, bundle = subject.device, subject.bundle
    open_backend(bundle.read_bytes(bundle.artefact(IMAGE_ROLE).file), device=device)
    placements: dict[str, Any] = {}
    record.parts["onnxruntime"] = {"device": device, "placement": placements}
    found = []
    for artefact in (one for one in bundle.artefacts if one.role == IMAGE_ROLE and device in one.devices):
        model, precision = bundle.read_bytes(artefact.file), artefact.precision
        name = f"onnxruntime {precision}"

        def open_session(name: str = name, model: bytes = model, precision: Precision = precision) -> CheckedEncoder:
            backend = open_backend(model, device=device, precision=precision)
            placements[precision] = getattr(backend, "placement", None)
            return CheckedEncoder(name, precision, backend.run)

        found += opened_one(record, name, open_session)
    return found


def tensorrt_encoders(subject: Subject, record: Record, opened: ExitStack) -> list[CheckedEncoder]:
    """An engine of each image encoder that is meant for TensorRT, built here and its precision proven.

    Raises:
        BackendError: TensorRT or a GPU is missing.
    """
    if subject.device != "cuda":
        raise BackendError("a rehearsal without a GPU")
    library, gpu = find_tensorrt(), current_gpu()
    record.parts["tensorrt"] = versions(library, gpu)
    bundle, found = subject.bundle, []
    for artefact in (one for one in bundle.artefacts if one.role == IMAGE_ROLE and "trt" in one.devices):
        model, precision = bundle.read_bytes(artefact.file), artefact.precision
        name = f"tensorrt {precision}"

        def open_engine(name: str = name, model: bytes = model, precision: Precision = precision) -> CheckedEncoder:
            backend = open_tensorrt_backend(model, precision=precision, profile=subject.profile, store=subject.store)
            opened.callback(backend.close)
            return CheckedEncoder(name, precision, backend.run)

        if build_and_find(library, model, precision, subject, record):
            found += opened_one(record, name, open_engine)
    return found


def opened_one(record: Record, name: str, open_it: Callable[[], CheckedEncoder]) -> list[CheckedEncoder]:
    """A list of the encoder, empty if it does not open; the part has then failed."""
    found: list[CheckedEncoder] = []

    def work() -> str:
        found.append(open_it())
        return "there"

    record.attempt(name, work)
    return found


def build_and_find(library: TensorRT, model: bytes, precision: Precision, subject: Subject, record: Record) -> bool:
    """Build an engine, prove its precision and find it in the store; returns whether it was built."""
    store, profile = subject.store, subject.profile

    def build() -> dict[str, Any]:
        started = time.perf_counter()
        folder = prepare_engine(model, precision=precision, profile=profile, store=store)
        seconds = time.perf_counter() - started
        (engine,) = (engine for engine in list_engines(store) if engine.folder == folder)
        if library.kind == "tensorrt" and engine.inspection["engine"] is None:
            raise ParityError("the engine inspector was not asked")
        return {"seconds": seconds, "bytes": engine.size, "proof": engine.inspection}

    def preflight() -> str:
        wanted = engine_key(library, model, precision=precision, profile=profile)
        if isinstance(find_engine(store, wanted), Mismatch):
            raise BackendError("the engine that was just built is not found")
        larger = Profile(profile.min_batch, profile.opt_batch, profile.max_batch + 1)
        return str(find_engine(store, replace(wanted, profile=larger)))

    built = record.attempt(f"tensorrt {precision} build", build) is not None
    record.attempt(f"tensorrt {precision} preflight", preflight)
    return built


def versions(library: TensorRT, gpu: CudaDevice) -> dict[str, Any]:
    """Versions of TensorRT, the GPU and CUDA."""
    cuda = load_cuda()
    return {
        "library": library.title,
        "gpu": asdict(gpu),
        "cuda_runtime": cuda_call(cuda.cudaRuntimeGetVersion),
        "cuda_driver": cuda_call(cuda.cudaDriverGetVersion),
    }


LIBRARIES: Mapping[str, Callable[[Subject, Record, ExitStack], list[CheckedEncoder]]] = {
    "pytorch": pytorch_encoders,
    "onnxruntime": onnxruntime_encoders,
    "tensorrt": tensorrt_encoders,
}
"""By the name of their part in the record. Retrieval is compared with that of the first fp32 encoder in this order."""
