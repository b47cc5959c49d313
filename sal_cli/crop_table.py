"""A table of crops for `sal gallery add --table`: what another pipeline knows of each image, CSV or JSON Lines.

Each row is one image: `image` (a path relative to the table), and optionally `camera`, `captured_at`, `track`, and
`box` (left, top, width, height in pixels) or the four columns `x`, `y`, `width`, `height`. Every other column is
metadata. An empty cell says nothing.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sal_runtime.errors import InputError
from sal_runtime.gallery.update import Capture

Row = dict[str, str]
CORNERS = ("x", "y", "width", "height")
DELIMITERS = ",;\t"
LARGEST = 2**31 - 1
"""Of a number in a box."""


def read_crop_table(path: Path) -> dict[str, Capture]:
    """What a table knows of images, by their absolute paths.

    Raises:
        InputError: the file is missing or malformed, or a cell cannot be understood; the message names line and column.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    captures: dict[str, Capture] = {}
    lines: dict[str, int] = {}
    for line, row in _jsonl_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text):
        column = "image"
        try:
            image = _image_path(path, row.pop("image", ""))
            if image in lines:
                raise InputError(f"is the image of line {lines[image]}, too; expected one row for each image")
            column = "box" if "box" in row else ", ".join(CORNERS)
            box = _box(row)
            column = "captured_at"
            camera, moment, track = (row.pop(name, "") or None for name in ("camera", "captured_at", "track"))
            captures[image] = Capture(camera, moment, {key: text for key, text in row.items() if text}, track, box)
        except InputError as error:
            raise InputError(f"{path}, line {line}, column {column}: {error}") from None
        lines[image] = line
    if not captures:
        raise InputError(f"{path}: no rows; expected one for each image, under a header with a column image")
    return captures


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=first.count), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) != len(header) or "" in header or "image" not in header:
            raise InputError(
                f"{path}, line 1: expected each column named once, image among them; got {first.strip()!r}"
            )
        for cells in reader:
            if len(cells) not in (0, len(header)):
                raise InputError(f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}")
            if cells:
                yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: is not CSV ({error})") from error


def _jsonl_rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: is not JSON ({error})") from error
        if not isinstance(entry, dict):
            raise InputError(f'{path}, line {number}: expected one object a line, such as {{"image": "a.jpg"}}')
        row = {}
        for name, value in entry.items():
            if isinstance(value, dict) or (isinstance(value, list) and name != "box"):
                raise InputError(f"{path}, line {number}, column {name}: expected a text or a number")
            row[name] = "" if value is None else value.strip() if isinstance(value, str) else json.dumps(value)
        yield number, row


def _image_path(table: Path, cell: str) -> str:
    if not cell:
        raise InputError("is empty; expected the path of an image, relative to the table")
    image = os.path.abspath(table.parent / cell)
    if not os.path.isfile(image):
        raise InputError(f"there is no file {image}")
    return image


def _box(row: Row) -> tuple[int, int, int, int] | None:
    """Take the box out of a row; four columns are a box only together."""
    if "box" in row:
        cells = re.split(r"[\s,]+", row.pop("box").strip("[]() \t"))
    elif all(name in row for name in CORNERS):
        cells = [row.pop(name) for name in CORNERS]
    else:
        return None
    if not any(cells):
        return None
    try:
        left, top, width, height = (round(float(cell)) for cell in cells)
    except (ValueError, OverflowError):
        raise InputError(f"got {' '.join(cells)!r}, expected left, top, width and height in pixels") from None
    if min(width, height) < 1 or max(map(abs, (left, top, width, height))) > LARGEST:
        raise InputError(f"got a box {width} wide and {height} high at {left}, {top}; expected at least one pixel")
    return left, top, width, height
