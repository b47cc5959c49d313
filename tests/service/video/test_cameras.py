"""Cameras as people write them: every mistake is one line that says where and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import ConfigError
from sal_service.video.cameras import Camera, Line, read_cameras
from sal_service.video.detections import Detections

TWO = """
[defaults]
rate = 5
zone = "north"

[[cameras]]
name = "door"
source = "rtsp://viewer:${DOOR_PASSWORD}@10.0.0.7/stream"
masks = [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]
lines = [{ name = "gate", start = [0.1, 0.8], stop = [0.9, 0.8] }]

[[cameras]]
name = "yard"
source = "recordings/yard.mp4"
zone = "south"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "cameras.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_variables_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "s3cret")
    door, yard = read_cameras(written(tmp_path, TWO))
    assert door.source == "rtsp://viewer:s3cret@10.0.0.7/stream"
    assert (door.rate, door.zone, yard.rate, yard.zone) == (5, "north", 5, "south")
    assert door.masks == (((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)),)
    assert door.lines == (Line("gate", (0.1, 0.8), (0.9, 0.8)),)
    assert yard.source == str(tmp_path / "recordings" / "yard.mp4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no cameras"),
        ("[[cameras]]\nname = 'a'", "camera a: got source None"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nrat = 5", "unknown key 'rat'; did you mean rate?"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nrate = 0", "camera a: got rate 0"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nrate = '5'", "got rate '5', expected frames a second"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nkeep = true", "got keep True"),
        ("[[cameras]]\nname = 'a/b'\nsource = 'b'", "camera name 'a/b'"),
        ("[[cameras]]\nname = '..'\nsource = 'b'", "camera name '..'"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nclock = 'sun'", "got clock 'sun'; expected one of arrival"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nmasks = [[[0, 0], [2, 0], [0, 1]]]", "points [x, y] in 0..1"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nmasks = [[[0, 0], [1, 0]]]", "at least 3 corners"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\nlines = [{name = 'g', start = [0, 0]}]", "lines are made of points"),
        ("[[cameras]]\nname = 'a'\nsource = 'b'\n[[cameras]]\nname = 'a'\nsource = 'c'", "two cameras are called a"),
        ("[[cameras]]\nname = 'a'\nsource = 'rtsp://${NOT_SET_HERE}@h/'", "variable NOT_SET_HERE, which is not set"),
        ("cameras = 5\n[", "cannot be read as TOML"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_cameras(written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_tall_and_those_outside_of_masks_count() -> None:
    camera = Camera("a", "b", min_height=50, masks=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    boxes = np.array(
        [
            [60, 20, 80, 80],  # right half, tall: counts
            [10, 20, 30, 80],  # feet at x 20 of 100: masked
            [60, 20, 80, 69],  # 49 pixels high
            [45, 20, 57, 80],  # begins in the mask, but its feet are at x 51
        ],
        np.float32,
    )
    everybody = Detections(boxes, np.full(4, 0.5, np.float32))
    assert camera.tall(everybody).boxes.tolist() == boxes[[0, 1, 3]].tolist()
    assert camera.unmasked(everybody, height=100, width=100).boxes.tolist() == boxes[[0, 2, 3]].tolist()
    assert camera.unmasked(Detections.none(), 100, 100).boxes.shape == (0, 4)
