"""The contact sheet, looked at where its pictures should be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sal_cli.show.grid import BOX, CAPTION, COLUMNS, HEADER, MARGIN, PICTURE, draw_grid
from tests.runtime.made_up_result import COLOURS, made_up_result


def decoded(data: bytes) -> NDArray[np.uint8]:
    assert data[:3] == b"\xff\xd8\xff"
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return np.asarray(image, dtype=np.uint8)


def centre(sheet: NDArray[np.uint8], position: int) -> NDArray[np.float64]:
    """Mean colour in the middle of a box, a little above the words that replace a missing picture."""
    row, column = divmod(position, COLUMNS)
    y = HEADER + row * (PICTURE[0] + CAPTION + MARGIN) + PICTURE[0] // 3
    x = MARGIN + column * (PICTURE[1] + MARGIN) + PICTURE[1] // 2
    return np.asarray(sheet[y - 4 : y + 4, x - 4 : x + 4].reshape(-1, 3).mean(axis=0))


def test_pictures_are_in_the_order_of_the_hits(tmp_path: Path) -> None:
    sheet = decoded(draw_grid(made_up_result(tmp_path), ".jpg"))
    for position, colour in enumerate((*COLOURS, BOX)):
        assert np.abs(centre(sheet, position) - colour).max() < 12


def test_many_hits_take_several_rows(tmp_path: Path) -> None:
    result = made_up_result(tmp_path)
    hits = tuple(replace(result.hits[number % 3], rank=number + 1) for number in range(23))
    sheet = decoded(draw_grid(replace(result, hits=hits), ".jpg"))
    assert sheet.shape[1] == COLUMNS * (PICTURE[1] + MARGIN) + MARGIN
    for position in range(23):
        assert np.abs(centre(sheet, position) - COLOURS[position % 3]).max() < 12
    assert centre(sheet, 23).min() > 240  # empty


def test_a_long_query_in_any_script_stays_inside(tmp_path: Path) -> None:
    result = replace(made_up_result(tmp_path), query="ümlaut,帽子," + "backpack," * 100)
    sheet = decoded(draw_grid(result, ".jpg"))
    assert sheet[:HEADER, -MARGIN // 2 :].min() > 200
