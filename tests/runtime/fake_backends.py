"""Backends for the tiny bundle that a test can name in `DEVICE_ENTRIES`: right, wrong, broken in several ways."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import BackendError
from tests.runtime.tiny_bundle import embed_image

opened: list[tuple[bytes, dict[str, Any]]] = []
"""Model and options of everything that `open_right` opened; a test empties it first."""


class FakeBackend:
    """Computes the tiny image encoder in closed form, then adds an error."""

    device = "fake"

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        self.factor, self.offset = factor, offset

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(embed_image(batch) * self.factor + self.offset, dtype=np.float32)


def open_right(model: bytes, **options: Any) -> FakeBackend:
    opened.append((model, options))
    return FakeBackend()


def open_wrong(model: bytes, **options: Any) -> FakeBackend:
    return FakeBackend(offset=0.5)


def open_nan(model: bytes, **options: Any) -> FakeBackend:
    return FakeBackend(factor=float("nan"))


def open_refused(model: bytes, **options: Any) -> FakeBackend:
    raise BackendError('no such hardware; in the checkout of sal: `pip install ".[made-up]"`')


def open_broken(model: bytes, **options: Any) -> FakeBackend:
    raise MemoryError("driver\nbug")


def open_bug(model: bytes, **options: Any) -> FakeBackend:
    raise ZeroDivisionError
