"""TensorRT engines as the command lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from sal_cli.show.terminal import print_json
from sal_runtime.engines.tensorrt.store import PLAN

if TYPE_CHECKING:
    from sal_export.engines import BuildProgress
    from sal_runtime.engines.tensorrt.store import StoredEngine


@contextmanager
def build_progress() -> Iterator[BuildProgress]:
    """A line on stderr that shows the step of the build in progress."""
    from rich.console import Console

    with Console(stderr=True).status("building TensorRT engines") as status:
        yield lambda precision, phase, done, steps: status.update(
            f"building the {precision} engine: {phase} {done}/{steps}"
        )


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
