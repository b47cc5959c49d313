"""A drawn PA-100K: a small annotation.mat in the published form, and a picture for each of its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat

from sal_train.datasets.pa100k import ATTRIBUTES, SCHEMA

SIZES = {"train": 40, "val": 6, "test": 10}


def cells(texts: list[str]) -> np.ndarray:
    """A MATLAB cell array of one column; "" becomes an empty cell, as in copies of the data set."""
    column = np.empty((len(texts), 1), dtype=object)
    for row, text in enumerate(texts):
        column[row, 0] = text or np.zeros((0, 0))
    return column


def fields() -> dict[str, Any]:
    """The content of annotation.mat: valid labels of 56 people who do not exist."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {"attributes": cells(list(ATTRIBUTES))}
    first = 1
    for part, count in SIZES.items():
        states = np.stack([rng.integers(0, len(group.states), count) for group in SCHEMA.groups], axis=1)
        content[f"{part}_images_name"] = cells([f"{number:06d}.jpg" for number in range(first, first + count)])
        content[f"{part}_label"] = SCHEMA.vectors_from_states(states)
        first += count
    return content


def write_pa100k(
    root: Path, content: dict[str, Any], pictures: str = "data", labels: str = "annotation.mat", name: str = "PA-100K"
) -> Path:
    """Write labels and pictures; returns the folder of the pictures."""
    place, file = root / name / pictures, root / name / labels
    for folder in (place, file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    savemat(file, content)
    rng = np.random.default_rng(1)
    for number in range(1, sum(SIZES.values()) + 1):
        cv2.imwrite(str(place / f"{number:06d}.jpg"), rng.integers(0, 256, (48, 20, 3), dtype=np.uint8))
    return place
