"""Products of int8 in ONNX Runtime: exact on every processor, and fast where the fast ones are exact."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime.engines.installed import import_onnxruntime

SATURATING_MODEL = Path(__file__).with_name("saturating.onnx")
"""One quantised convolution of the largest numbers."""
EXACT_INT8 = ("session.x64quantprecision", "1")
"""Option of a session: a product of int8 that is exact on every processor, and half as fast on one with VNNI."""


def keep_exact(options: Any) -> None:
    """Set `EXACT_INT8` in the options of a session if the fast product saturates on this processor."""
    if int8_saturates():
        options.add_session_config_entry(*EXACT_INT8)


@cache
def int8_saturates() -> bool:
    """Whether ONNX Runtime's fast product of int8 is wrong on this processor.

    On an x86 processor without VNNI it adds pairs of products in 16 bits, which saturate.
    """
    session = import_onnxruntime().InferenceSession(SATURATING_MODEL.read_bytes(), providers=["CPUExecutionProvider"])
    return bool(session.run(None, {"images": np.full((1, 64, 4, 4), 255, np.uint8)})[0].max() < 255)
