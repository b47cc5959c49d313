"""TensorRT engines as a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from sal_cli.show.terminal import print_json
from sal_runtime.engines.tensorrt.store import PLAN

if TYPE_CHECKING:
    from sal_export.engines import EngineProgress
    from sal_runtime.engines.tensorrt.store import StoredEngine


@contextmanager
def build_progress() -> Iterator[EngineProgress]:
    """A line on stderr that shows the step of the build in progress."""
    from rich.console import Console

    with Console(stderr=True).status("building TensorRT engines") as status:
        yield lambda precision, phase, done, steps: status.update(
            f"building the {precision} engine: {phase} {done}/{steps}"
        )


def print_engines(engines: Sequence[StoredEngine], *, as_json: bool) -> None:
    """Print where engines are and what proves their precision: two lines each, or a JSON document, on stdout."""
    if as_json:
        described = [
            {
                "path": str(engine.folder / PLAN),
                "key": asdict(engine.key),
                "bytes": engine.size,
                "proof": engine.inspection,
            }
            for engine in engines
        ]
        print_json({"engines": described})
        return
    for engine in engines:
        proof = "graph and engine inspector" if engine.inspection["engine"] else "graph and weights of the engine"
        made_for = ", ".join(engine.key.compute_capabilities)
        print(f"{engine.folder / PLAN}")
        print(
            f"  {engine.key.precision}, {engine.size / 1e6:.1f} MB, {engine.key.library} "
            f"{engine.key.library_version}, compute capability {made_for}, {engine.key.profile}; precision proven by "
            f"{proof}"
        )
