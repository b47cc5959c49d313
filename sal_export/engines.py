"""TensorRT engines of a bundle's image encoders, built ahead of their first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sal_runtime.bundle.bundle import IMAGE_ROLE
from sal_runtime.engines.tensorrt.backend import prepare_engine
from sal_runtime.engines.tensorrt.build import target_capabilities
from sal_runtime.engines.tensorrt.library import find_tensorrt
from sal_runtime.engines.tensorrt.store import list_engines

if TYPE_CHECKING:
    from rich.status import Status

    from sal_runtime.arrays import Precision
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.engines.tensorrt.build import BuildProgress
    from sal_runtime.engines.tensorrt.store import StoredEngine


def check_engines_can_be_built(compute_capabilities: Sequence[str] | None) -> None:
    """Fail before the work rather than after it.

    Raises:
        BackendError: TensorRT is missing, or cannot build for these GPUs here.
    """
    target_capabilities(find_tensorrt(), compute_capabilities)


def build_engines(
    bundle: Bundle,
    precisions: Sequence[Precision],
    compute_capabilities: Sequence[str] | None,
    console: Console,
    store: Path | None = None,
) -> list[StoredEngine]:
    """The engines of a bundle's image encoder, from the store or built now.

    Args:
        bundle: opened.
        precisions: each must be in the bundle.
        compute_capabilities: of the GPUs to build for, such as `["8.9"]`, with TensorRT-RTX; None: this GPU.
        console: for the steps of a build; standard error.
        store: of engines; the user's cache if None.

    Raises:
        BundleError: the bundle has no image encoder of a precision for TensorRT.
        BackendError: an engine cannot be built, or not in its precision.
    """
    artefacts = [bundle.artefact(IMAGE_ROLE, device="trt", precision=precision) for precision in precisions]
    engines = []
    for artefact in artefacts:
        what = f"building the {artefact.precision} engine"
        with console.status(what) as status:
            folder = prepare_engine(
                bundle.read_bytes(artefact.file),
                precision=artefact.precision,
                store=store,
                compute_capabilities=compute_capabilities,
                progress=_show_in(status, what),
            )
        engines += [engine for engine in list_engines(folder.parent) if engine.folder == folder]
    return engines


def _show_in(status: Status, what: str) -> BuildProgress:
    return lambda phase, done, steps: status.update(f"{what}: {phase} {done}/{steps}")
