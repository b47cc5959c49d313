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

if TYPE_CHECKING:
    from sal_runtime.arrays import Precision
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.engines.tensorrt.store import StoredEngine


EngineProgress = Callable[[str, str, int, int], None]
"""Called with the precision, the name of a phase of its build, the steps done and the number of steps."""


def check_engines_can_be_built(compute_capabilities: Sequence[str] | None) -> None:
    """Check that engines can be built, before the work that precedes them.

    Args:
        compute_capabilities: of the GPUs to build for, as for `build_engines`.

    Raises:
        BackendError: TensorRT is missing, or cannot build for these GPUs here.
    """
    target_capabilities(find_tensorrt(), compute_capabilities)


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
