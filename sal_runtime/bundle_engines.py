"""TensorRT engines of a bundle's image encoders, built ahead of their first use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sal_runtime.backend_tensorrt import prepare_engine
from sal_runtime.engine_store import PLAN, list_engines
from sal_runtime.tensorrt_build import target_capabilities
from sal_runtime.tensorrt_library import find_tensorrt
from sal_runtime.terminal import print_json

if TYPE_CHECKING:
    from rich.status import Status

    from sal_runtime.bundle import Bundle
    from sal_runtime.engine_store import StoredEngine
    from sal_runtime.tensorrt_build import Progress
    from sal_runtime.tensorrt_precision import Precision


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
    artefacts = [(precision, bundle.artefact("image_encoder", precision, "trt")) for precision in precisions]
    engines = []
    for precision, artefact in artefacts:
        what = f"building the {precision} engine"
        with console.status(what) as status:
            folder = prepare_engine(
                bundle.read_bytes(artefact.file),
                precision,
                store=store,
                compute_capabilities=compute_capabilities,
                progress=_show_in(status, what),
            )
        engines += [engine for engine in list_engines(folder.parent) if engine.folder == folder]
    return engines


def print_engines(engines: Sequence[StoredEngine], *, as_json: bool) -> None:
    """Where the engines are and how their precision was proven; one line each, or a JSON document, on stdout."""
    if as_json:
        found = [
            {"path": str(one.folder / PLAN), "key": asdict(one.key), "bytes": one.bytes, "proof": one.inspection}
            for one in engines
        ]
        print_json({"engines": found})
        return
    for one in engines:
        proof = "graph and engine inspector" if one.inspection["engine"] else "graph and weights of the engine"
        made_for = ", ".join(one.key.compute_capabilities)
        print(f"{one.folder / PLAN}")
        print(
            f"  {one.key.precision}, {one.bytes / 1e6:.1f} MB, {one.key.library} {one.key.library_version}, compute "
            f"capability {made_for}, {one.key.profile}; precision proven by {proof}"
        )


def _show_in(status: Status, what: str) -> Progress:
    return lambda phase, done, steps: status.update(f"{what}: {phase} {done}/{steps}")
