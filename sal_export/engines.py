"""TensorRT engines of a bundle's image encoders, built ahead of their first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.bundle.bundle import IMAGE_ROLE
from sal_runtime.engines.tensorrt.backend import prepare_engine
from sal_runtime.engines.tensorrt.build import target_capabilities
from sal_runtime.engines.tensorrt.library import find_tensorrt
from sal_runtime.engines.tensorrt.store import list_engines
from sal_runtime.errors import BackendError, BundleError

if TYPE_CHECKING:
    from sal_runtime.arrays import Precision
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.engines.tensorrt.store import StoredEngine


MADE_BY: dict[Precision, str] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8-trt"}
"""The precision to ask of `export_run` for an encoder that TensorRT can run in a precision."""
EngineProgress = Callable[[str, str, int, int], None]
"""Called with the precision, the name of a phase of its build, the steps done and the number of steps."""


def check_engines_can_be_built(compute_capabilities: Sequence[str] | None) -> None:
    """Check that engines can be built, before the work that precedes them.

    Args:
        compute_capabilities: of the GPUs to build for, as for `build_engines`.

    Raises:
        BackendError: TensorRT is missing, or cannot build for these GPUs here.
    """
    try:
        target_capabilities(find_tensorrt(), compute_capabilities)
    except BackendError as error:
        raise BackendError(
            f"{error}. Without an engine, the encoders for TensorRT can be exported here in precision fp16 and int8-trt"
        ) from error


def engine_precisions(bundle: Bundle) -> list[Precision]:
    """The precisions in which a bundle has an image encoder for TensorRT, fp32 first."""
    return [
        artefact.precision for artefact in bundle.artefacts if artefact.role == IMAGE_ROLE and "trt" in artefact.devices
    ]


def build_engines(
    bundle: Bundle,
    precisions: Sequence[Precision],
    compute_capabilities: Sequence[str] | None,
    store: Path | None = None,
    progress: EngineProgress | None = None,
) -> list[StoredEngine]:
    """Find the engines of a bundle's image encoder in the store, or build them.

    Args:
        bundle: opened.
        precisions: the bundle must have an image encoder for TensorRT in each.
        compute_capabilities: of the GPUs to build for, such as `["8.9"]` (TensorRT-RTX only); None: this GPU.
        store: folder of engines; None: the user's cache.
        progress: called at each step of a build.

    Returns:
        One engine per precision.

    Raises:
        BundleError: the bundle has no image encoder for TensorRT in one of the precisions.
        BackendError: an engine cannot be built, or not in its precision.
    """
    there = engine_precisions(bundle)
    if missing := [precision for precision in precisions if precision not in there]:
        made_by = " and ".join(MADE_BY[precision] for precision in missing)
        raise BundleError(
            f"bundle {bundle.path} has no {' and no '.join(missing)} encoder for TensorRT, only {', '.join(there)}; "
            f"export the run again in {made_by}, which needs no GPU, or build an engine in {there[0]}",
            parameter="precision",
        )
    artefacts = [bundle.artefact(IMAGE_ROLE, device="trt", precision=precision) for precision in precisions]
    engines = []
    for artefact in artefacts:
        folder = prepare_engine(
            bundle.read_bytes(artefact.file),
            precision=artefact.precision,
            store=store,
            compute_capabilities=compute_capabilities,
            progress=None if progress is None else partial(progress, artefact.precision),
        )
        engines += [engine for engine in list_engines(folder.parent) if engine.folder == folder]
    return engines
