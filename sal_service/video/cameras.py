"""Cameras as people write them: what each looks at, how often, and which parts of its picture do not count."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array
from sal_runtime.errors import ConfigError
from sal_service.toml_file import read_toml, refuse_unknown
from sal_service.video.detections import Detections
from sal_service.video.sources.settings import AskedClock, Library, SourceSettings

Point = tuple[float, float]
"""A place in a picture: x and y as shares of its width and height, 0..1 from the upper left corner."""
NAME = re.compile(r"[^\W_][\w.-]{0,63}")
"""Names of cameras. They are names of folders, too."""
VARIABLE = re.compile(r"\$\{(\w+)\}")
FEWEST_CORNERS = 3


@dataclass(frozen=True)
class Line:
    """A line across a picture that people cross.

    Attributes:
        name: of the line.
        start: one end.
        stop: the other end. Who goes from the left of start -> stop to the right of it crosses `forward`.
    """

    name: str
    start: Point
    stop: Point


@dataclass(frozen=True)
class Camera:
    """One camera, or a recording of one.

    Attributes:
        name: 1 to 64 letters, digits, `.`, `_` and `-`; begins with a letter or a digit.
        source: path of a video, a folder of frames, a device, or an `rtsp://` address.
        zone: recorded for each image as metadata `zone`; None records nothing.
        rate: most frames a second that are looked at; None looks at every frame.
        detector: path of the .onnx file that finds people; None takes the one that all cameras share.
        clock: of a live camera, what moments are read from; a recording has its own.
        started_at: of a recording, when it began, seconds since 1970, UTC; None takes the time of its file.
        frame_rate: of a folder of frames, frames a second; None takes the times of the files.
        library: what reads videos and addresses, `opencv` or `pyav`.
        key_frames_only: look only at the frames that a video can be entered at.
        hardware: decoder of the graphics device, as FFmpeg names it; None decodes on the processor.
        tls_verify: of an `rtsps://` address: refuse a camera whose certificate is not trusted.
        tls_authorities: file with the trusted certificates (PEM); None takes the system's.
        keep: images that are kept of each track, at least 1.
        min_height: smaller people, in pixels, do not count.
        min_score: who was never detected as surely does not count, 0..1.
        join: whether tracks that end and begin near each other become one if their pictures are alike (`Bridge`).
        masks: polygons; who stands in one of them does not count.
        lines: the crossings of these are counted and recorded.
    """

    name: str
    source: str
    zone: str | None = None
    rate: float | None = None
    detector: str | None = None
    clock: AskedClock = "arrival"
    started_at: float | None = None
    frame_rate: float | None = None
    library: Library = "opencv"
    key_frames_only: bool = False
    hardware: str | None = None
    tls_verify: bool = True
    tls_authorities: str | None = None
    keep: int = 3
    min_height: int = 48
    min_score: float = 0.4
    join: bool = False
    masks: tuple[tuple[Point, ...], ...] = ()
    lines: tuple[Line, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: a value is out of its range.
        """
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"camera name {self.name!r}: expected 1 to 64 letters, digits, '.', '_' and '-', "
                "the first of them a letter or a digit"
            )
        ranges = {
            "rate": self.rate is None or 0 < self.rate <= 1000,
            "clock": self.clock in get_args(AskedClock),
            "library": self.library in get_args(Library),
            "keep": self.keep >= 1,
            "min_height": self.min_height >= 1,
            "min_score": 0 <= self.min_score <= 1,
            "masks": all(len(corners) >= FEWEST_CORNERS for corners in self.masks),
        }
        for name, is_right in ranges.items():
            if not is_right:
                raise ConfigError(f"camera {self.name}: got {name} {getattr(self, name)!r}; {EXPECTED[name]}")

    def reading(self) -> SourceSettings:
        """How its source is read.

        Raises:
            InputError: a setting is wrong.
        """
        return SourceSettings(
            started_at=self.started_at,
            frame_rate=self.frame_rate,
            clock=self.clock,
            library=self.library,
            key_frames_only=self.key_frames_only,
            hardware=self.hardware,
            tls_verify=self.tls_verify,
            tls_authorities=None if self.tls_authorities is None else Path(self.tls_authorities),
        )

    def tall(self, detections: Detections) -> Detections:
        """The detections that are tall enough."""
        boxes = detections.boxes
        return detections.where(boxes[:, 3] - boxes[:, 1] >= self.min_height)

    def unmasked(self, detections: Detections, height: int, width: int) -> Detections:
        """The detections whose feet are in no mask.

        Args:
            detections: in pixels of a frame.
            height: of the frame in pixels.
            width: of the frame in pixels.
        """
        keep = np.ones(len(detections), bool)
        for corners in self.masks:
            polygon = np.array(corners, np.float32) * np.array([width, height], np.float32)
            keep &= ~_inside(polygon, feet(detections.boxes))
        return detections.where(keep)


EXPECTED = {
    "rate": "expected frames a second above 0, at most 1000",
    "clock": f"expected one of {', '.join(get_args(AskedClock))}",
    "library": f"expected one of {', '.join(get_args(Library))}",
    "keep": "expected at least 1",
    "min_height": "expected at least 1 pixel",
    "min_score": "expected a number in 0..1",
    **dict.fromkeys(("join", "key_frames_only", "tls_verify"), "expected true or false"),
    "masks": "expected at least 3 corners for each",
}


def feet(boxes: Float32Array) -> Float32Array:
    """Where people stand: the middle of the lower edge of each box, float32 `[n, 2]`, from boxes `[n, 4]`."""
    return np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)


def _inside(polygon: Float32Array, points: Float32Array) -> BoolArray:
    inside = [cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0 for x, y in points]
    return np.array(inside, bool).reshape(len(points))


def read_cameras(path: Path) -> tuple[Camera, ...]:
    """The cameras of a TOML file: a table `[[cameras]]` for each, and `[defaults]` for what they have in common.

    The keys are the attributes of `Camera`. `${NAME}` in a source stands for the environment variable NAME, so that
    the file holds no password. Paths are relative to the file.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value is wrong.
    """
    content = read_toml(path)
    refuse_unknown(content, ("defaults", "cameras"), str(path))
    tables, defaults = content.get("cameras"), content.get("defaults", {})
    if not isinstance(tables, list) or not tables or not isinstance(defaults, dict):
        raise ConfigError(f"{path}: no cameras; expected a table [[cameras]] for each, with name and source")
    cameras = tuple(_read_camera(path, number, {**defaults, **table}) for number, table in enumerate(tables, 1))
    names = [camera.name for camera in cameras]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two cameras are called {name}; give each a name of its own")
    return cameras


def _read_camera(path: Path, number: int, table: Mapping[str, Any]) -> Camera:
    title = f"{path}, camera {table.get('name', number)}"
    refuse_unknown(table, [field.name for field in fields(Camera)], title)
    for key in ("name", "source"):
        if not isinstance(table.get(key), str):
            raise ConfigError(f"{title}: got {key} {table.get(key)!r}, expected a text")
    for key, kinds in KINDS.items():
        if key in table and (
            isinstance(table[key], bool) is not (kinds == (bool,)) or not isinstance(table[key], kinds)
        ):
            raise ConfigError(f"{title}: got {key} {table[key]!r}, {EXPECTED.get(key, 'expected a text')}")
    try:
        parts = {
            "masks": tuple(tuple(map(_point, corners)) for corners in table.get("masks", ())),
            "lines": tuple(_line(line) for line in table.get("lines", ())),
        }
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{title}: masks and lines are made of points [x, y] in 0..1, such as masks = [[[0, 0], [0.3, 0], [0, 1]]]"
            ' or lines = [{ name = "gate", start = [0.1, 0.8], stop = [0.9, 0.8] }]'
        ) from error
    paths = {key: _resolve(path.parent, table[key]) for key in ("detector", "tls_authorities") if key in table}
    source = _resolve(path.parent, _expand(table["source"], title))
    return Camera(**{**table, **parts, **paths, "source": source})


KINDS: Mapping[str, tuple[type, ...]] = {
    "zone": (str,),
    "detector": (str,),
    "rate": (int, float),
    "clock": (str,),
    "started_at": (int, float),
    "frame_rate": (int, float),
    "library": (str,),
    "keep": (int,),
    "min_height": (int,),
    "min_score": (int, float),
    "join": (bool,),
    "key_frames_only": (bool,),
    "hardware": (str,),
    "tls_verify": (bool,),
    "tls_authorities": (str,),
}


def _point(value: Any) -> Point:
    x, y = (float(part) for part in value)
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(value)
    return x, y


def _line(value: Mapping[str, Any]) -> Line:
    line = Line(str(value["name"]), _point(value["start"]), _point(value["stop"]))
    if math.dist(line.start, line.stop) == 0:
        raise ValueError(value)
    return line


def _expand(source: str, title: str) -> str:
    for name in VARIABLE.findall(source):
        if name not in os.environ:
            raise ConfigError(f"{title}: its source needs the environment variable {name}, which is not set")
    return VARIABLE.sub(lambda match: os.environ[match[1]], source)


def _resolve(folder: Path, source: str) -> str:
    is_path = "://" not in source and not source.isdecimal()
    return str(folder / source) if is_path else source
