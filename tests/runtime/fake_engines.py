"""Engines for the tiny bundle that a test can name in `ENGINES`: right, wrong, broken in several ways."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import BackendError
from tests.runtime.tiny_bundle import embed_image

opened: list[tuple[bytes, str]] = []
"""Model and precision of everything that was opened; a test empties it first."""


class FakeBackend:
    """Computes the tiny image encoder in closed form, and then something is off."""

    device = "fake"

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        self.factor, self.offset = factor, offset

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(embed_image(batch) * self.factor + self.offset, dtype=np.float32)


def open_right(model: bytes, precision: str) -> FakeBackend:
    opened.append((model, precision))
    return FakeBackend()


def open_wrong(model: bytes, precision: str) -> FakeBackend:
    return FakeBackend(offset=0.5)


def open_nan(model: bytes, precision: str) -> FakeBackend:
    return FakeBackend(factor=float("nan"))


def open_refused(model: bytes, precision: str) -> FakeBackend:
    raise BackendError('no such hardware; pip install "sal-person-search[made-up]"')


def open_broken(model: bytes, precision: str) -> FakeBackend:
    raise MemoryError("driver\nbug")


def open_on_cpu(model: bytes, precision: str, threads: int | None) -> FakeBackend:
    opened.append((model, f"{precision} with {threads} threads"))
    return FakeBackend()
