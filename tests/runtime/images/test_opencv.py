"""OpenCV that does not load is one line with the remedy, wherever it is needed first."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sal_runtime.errors import BackendError
from sal_runtime.images import pixels
from sal_runtime.images.spec import ImageSpec

MISSING = "libGL.so.1: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ImportError(MISSING), f"{MISSING}; on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"),
        (ModuleNotFoundError("No module named 'cv2'"), "OpenCV does not load: .*; pip install opencv-python"),
    ],
    ids=["without libGL", "not installed"],
)
def test_opencv_that_does_not_load_names_the_remedy(
    error: ImportError, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> Any:
        raise error

    monkeypatch.setattr(pixels, "import_module", fail)
    with pytest.raises(BackendError, match=remedy):
        pixels.decode_image(b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little") + bytes(36))
    with pytest.raises(BackendError, match=remedy):
        pixels.resize_image(np.zeros((4, 4, 3), np.uint8), ImageSpec(2, 2))


def test_opencv_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "import_module", lambda name: SimpleNamespace(__version__="4.9.0"))
    with pytest.raises(BackendError, match=r"OpenCV 4.9.0 is too old; pip install 'opencv-python>=4.11.0.86'"):
        pixels.resize_image(np.zeros((4, 4, 3), np.uint8), ImageSpec(2, 2))
    required = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"opencv-python>={pixels.OLDEST_OPENCV}" in required
