"""Drawn pedestrians with known attributes, so that tests and newcomers can train without a download.

A figure shows its attribute vector; everything else is random: pose, build, skin, light, background, blur. The
attributes depend on each other as clothes do (skirts are more frequent with long hair), which gives statistics, unseen
combinations and partial queries something to find.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.pixels import import_opencv
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_train.datasets.splits import states_from_vectors

cv2 = import_opencv()

HEIGHT, WIDTH = 160, 80
COLOURS = {
    "black": (30, 30, 34),
    "white": (228, 228, 224),
    "red": (190, 38, 44),
    "yellow": (222, 196, 52),
    "green": (48, 130, 66),
    "blue": (44, 76, 172),
    "gray": (128, 128, 130),
    "brown": (112, 74, 46),
}
SKIN = ((244, 208, 180), (214, 164, 128), (158, 108, 76), (92, 62, 46))
BACKPACK, STRAP, BAG, FELT, SHOE = (74, 54, 92), (60, 42, 78), (112, 72, 34), (150, 60, 110), (40, 36, 36)
HAIR = ((28, 22, 20), (86, 56, 34), (176, 140, 84), (150, 150, 150))

SCHEMA = AttributeSchema(
    "synthetic",
    (
        binary("hat", 0, present_aliases=("cap",)),
        binary("hair", 1, absent="short-hair", present="long-hair"),
        binary("backpack", 2, present_aliases=("rucksack",)),
        binary("bag", 3, present_aliases=("handbag",)),
        binary("sleeve", 4, absent="long-sleeve", present="short-sleeve"),
        binary("lower-type", 5, absent="skirt", present="trousers", present_aliases=("pants",)),
        exclusive(
            "upper-colour",
            {colour: 6 + index for index, colour in enumerate(COLOURS)},
            allow_none=False,
            aliases=("upper", "top"),
        ),
        exclusive(
            "lower-colour",
            {colour: 6 + len(COLOURS) + index for index, colour in enumerate(COLOURS)},
            allow_none=False,
            aliases=("lower", "bottom"),
        ),
    ),
)

Colour = tuple[int, int, int]
Point = tuple[float, float]


def draw_people(count: int, rng: np.random.Generator) -> UInt8Array:
    """Attribute vectors uint8 [count, A] of random people, with plausible dependencies between the attributes."""
    states = np.zeros((count, len(SCHEMA.groups)), dtype=np.int64)
    column = SCHEMA.group_index
    long_hair = rng.random(count) < 0.45
    trousers = rng.random(count) < np.where(long_hair, 0.6, 0.95)
    states[:, column["hat"]] = rng.random(count) < 0.2
    states[:, column["hair"]] = long_hair
    states[:, column["backpack"]] = rng.random(count) < np.where(trousers, 0.35, 0.15)
    states[:, column["bag"]] = rng.random(count) < np.where(states[:, column["backpack"]] == 1, 0.1, 0.4)
    states[:, column["sleeve"]] = rng.random(count) < 0.5
    states[:, column["lower-type"]] = trousers
    states[:, column["upper-colour"]] = rng.choice(8, count, p=(0.2, 0.2, 0.15, 0.08, 0.09, 0.13, 0.1, 0.05))
    states[:, column["lower-colour"]] = rng.choice(8, count, p=(0.32, 0.06, 0.05, 0.03, 0.06, 0.26, 0.14, 0.08))
    return SCHEMA.vectors_from_states(states)


def render_pedestrian(vector: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Draw one person.

    Args:
        vector: attributes of `SCHEMA`, uint8 [A].
        rng: decides everything that the attributes do not.

    Returns:
        uint8 RGB [160, 80, 3].

    Raises:
        SchemaError: the vector is not one of this schema.
    """
    on = dict(zip(SCHEMA.bit_names, SCHEMA.check_vectors(vector).tolist(), strict=True))
    # two streams, so that the scene does not depend on the attributes
    scene, figure = rng.spawn(2)
    image = _background(scene)
    pen = _Pen(image, figure)
    upper = pen.shade(_chosen(on, "upper-colour"))
    lower = pen.shade(_chosen(on, "lower-colour"))
    skin = pen.shade(SKIN[figure.integers(len(SKIN))])
    hair = pen.shade(HAIR[figure.integers(len(HAIR))])
    stride, swing, bag_side = figure.uniform(1, 8), figure.uniform(-5, 5), figure.choice((-1, 1))
    if on["long-hair"]:
        pen.polygon(((-9, 20), (9, 20), (11, 46), (-11, 46)), hair)
    if on["backpack"]:
        pen.polygon(((-19, 38), (19, 38), (20, 76), (-20, 76)), BACKPACK)
    _draw_legs(pen, lower, skin, stride, trousers=bool(on["trousers"]))
    _draw_body(pen, upper, skin, swing, short_sleeve=bool(on["short-sleeve"]))
    if on["backpack"]:
        for side in (-1, 1):
            pen.line((side * 8, 36), (side * 9, 62), STRAP, 3)
    if on["bag"]:
        pen.line((-bag_side * 10, 38), (bag_side * 17, 80), BAG, 2)
        corners = ((12, 78), (25, 78), (26, 95), (11, 95))
        pen.polygon([(bag_side * x, y) for x, y in corners], BAG)
    _draw_head(pen, skin, hair, hat=bool(on["hat"]))
    return _photograph(image, scene)


def _chosen(on: dict[str, int], group: str) -> Colour:
    return next(rgb for name, rgb in COLOURS.items() if on[f"{group}={name}"])


class _Pen:
    """Draws in the coordinates of a figure of 150 units, with the head at the top and the middle at x = 0."""

    def __init__(self, image: UInt8Array, rng: np.random.Generator) -> None:
        self.image = image
        self.rng = rng
        self.scale = rng.uniform(0.92, 1.04)
        self.build = rng.uniform(0.88, 1.12)
        self.origin = np.array([WIDTH / 2 + rng.uniform(-4, 4), rng.uniform(2, 8)])
        self.mirror = rng.choice((-1, 1))

    def shade(self, colour: Colour) -> Colour:
        """A colour close to this one."""
        jittered = np.clip(np.array(colour) + self.rng.normal(0, 5, 3), 0, 255).astype(int)
        return int(jittered[0]), int(jittered[1]), int(jittered[2])

    def _place(self, point: Point) -> tuple[int, int]:
        x, y = point
        moved = self.origin + np.array([self.mirror * x * self.build, y]) * self.scale
        return round(float(moved[0])), round(float(moved[1]))

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        corners = np.array([self._place(point) for point in points], dtype=np.int32)
        cv2.fillPoly(self.image, [corners], colour, cv2.LINE_AA)

    def line(self, start: Point, end: Point, colour: Colour, width: float) -> None:
        """Draw a stroke with round ends."""
        cv2.line(self.image, self._place(start), self._place(end), colour, max(1, round(width * self.scale)), 16)

    def ellipse(self, centre: Point, axes: tuple[float, float], colour: Colour, end: int = 360) -> None:
        """Fill an ellipse, or its upper half (end 180)."""
        size = (round(axes[0] * self.scale), round(axes[1] * self.scale))
        cv2.ellipse(self.image, self._place(centre), size, 180, 0, end, colour, -1, cv2.LINE_AA)


def _draw_legs(pen: _Pen, cloth: Colour, skin: Colour, stride: float, *, trousers: bool) -> None:
    for side in (-1, 1):
        hip, knee, foot = (side * 6, 82), (side * (5 + stride / 2), 112), (side * (5 + stride), 143)
        leg = cloth if trousers else skin
        pen.line(hip, knee, leg, 13 if trousers else 8)
        pen.line(knee, foot, leg, 11 if trousers else 7)
        pen.line(foot, (foot[0] + 4, 146), SHOE, 7)
    if not trousers:
        pen.polygon(((-11, 78), (11, 78), (18, 116), (-18, 116)), cloth)


def _draw_body(pen: _Pen, cloth: Colour, skin: Colour, swing: float, *, short_sleeve: bool) -> None:
    for side in (-1, 1):
        shoulder, elbow, hand = (side * 14, 40), (side * 18, 60), (side * 18 + swing, 82)
        pen.line(elbow, hand, skin if short_sleeve else cloth, 6 if short_sleeve else 8)
        pen.line(shoulder, elbow, cloth, 9)
        pen.ellipse((hand[0], hand[1] + 3), (4, 4), skin)
    pen.polygon(((-15, 35), (15, 35), (13, 86), (-13, 86)), cloth)
    pen.line((0, 28), (0, 36), skin, 7)


def _draw_head(pen: _Pen, skin: Colour, hair: Colour, *, hat: bool) -> None:
    pen.ellipse((0, 19), (9, 12), hair)
    pen.ellipse((0, 22), (7, 9), skin)
    if hat:
        pen.ellipse((0, 15), (11, 11), FELT, end=180)
        pen.line((-14, 15), (14, 15), FELT, 3)


def _background(rng: np.random.Generator) -> UInt8Array:
    """A wall above a floor, each with its own light."""
    image = np.empty((HEIGHT, WIDTH, 3), dtype=np.float64)
    horizon = rng.integers(70, 130)
    for rows in (slice(0, horizon), slice(horizon, HEIGHT)):
        image[rows] = rng.uniform(70, 190) + rng.normal(0, 10, 3)
    image += np.linspace(rng.uniform(-25, 25), rng.uniform(-25, 25), WIDTH)[None, :, None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _photograph(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """The image as a cheap camera takes it: with blur, exposure and noise."""
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0)).astype(np.float64)
    exposed = blurred * rng.uniform(0.8, 1.15) + rng.normal(0, 4, image.shape)
    return np.asarray(np.clip(exposed, 0, 255), np.uint8)


def write_dataset(folder: Path, num_people: int, images_per_person: int, seed: int) -> Path:
    """Write a data set of drawn people in the form that docs/data.md describes for your own data.

    Args:
        folder: must not exist; it appears when the data set is whole.
        num_people: people to draw; some of them look alike.
        images_per_person: JPEG files per person.
        seed: the same seed gives the same files.

    Returns:
        The table, `folder/attributes.csv`; `folder/schema.json` is beside it.

    Raises:
        InputError: `folder` exists.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already; name a new folder, or delete this one first", parameter="out")
    rng = np.random.default_rng(seed)
    people = draw_people(num_people, rng)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (partial / "images").mkdir()
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("image", "identity", *(group.name for group in SCHEMA.groups)))
        for number, (vector, states) in enumerate(zip(people, states_from_vectors(SCHEMA, people), strict=True)):
            words = [group.states[state].name for group, state in zip(SCHEMA.groups, states, strict=True)]
            for shot in range(images_per_person):
                name = f"images/{number:04d}_{shot:02d}.jpg"
                bgr = cv2.cvtColor(render_pedestrian(vector, rng), cv2.COLOR_RGB2BGR)
                _, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, 90))
                (partial / name).write_bytes(data.tobytes())
                writer.writerow((name, f"{number:04d}", *words))
        (partial / "attributes.csv").write_text(table.getvalue())
        (partial / "schema.json").write_text(json.dumps(SCHEMA.to_json(), indent=2) + "\n")
        partial.chmod(0o755)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder / "attributes.csv"
