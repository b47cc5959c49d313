"""Drawn pedestrians: reproducible, and each attribute shows where it should and nowhere else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_train.datasets.splits import states_from_vectors
from sal_train.datasets.synthetic import COLOURS, SCHEMA, draw_people, render_pedestrian, write_dataset
from sal_train.datasets.table import load_table

PLAIN = {"trousers": 1, "upper-colour=gray": 1, "lower-colour=gray": 1}


def vector(bits: dict[str, int]) -> np.ndarray:
    return np.array([bits.get(name, 0) for name in SCHEMA.bit_names], dtype=np.uint8)


def mean_drawing(bits: dict[str, int], count: int = 40) -> np.ndarray:
    """The mean of drawings whose random parts are the same for every vector, float [160, 80, 3]."""
    return np.mean([render_pedestrian(vector(bits), np.random.default_rng(seed)) for seed in range(count)], axis=0)


def test_people_fit_the_schema_and_clothes_depend_on_each_other() -> None:
    people = draw_people(4000, np.random.default_rng(0))
    assert (states_from_vectors(SCHEMA, people) >= 0).all()
    bit = {name: people[:, index] for index, name in enumerate(SCHEMA.bit_names)}
    skirt_with_long_hair = 1 - bit["trousers"][bit["long-hair"] == 1].mean()
    skirt_with_short_hair = 1 - bit["trousers"][bit["long-hair"] == 0].mean()
    assert skirt_with_long_hair == pytest.approx(0.4, abs=0.05)
    assert skirt_with_short_hair == pytest.approx(0.05, abs=0.03)


def test_a_drawing_depends_on_the_generator_alone() -> None:
    people = draw_people(3, np.random.default_rng(5))
    for person in people:
        one, two = (render_pedestrian(person, np.random.default_rng(9)) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert one.shape == (160, 80, 3)
        assert one.dtype == np.uint8


@pytest.mark.parametrize("colour", [name for name in COLOURS if name != "gray"])
@pytest.mark.parametrize(("part", "rows"), [("upper", slice(50, 80)), ("lower", slice(100, 130))])
def test_colours_show_where_they_are_worn(colour: str, part: str, rows: slice) -> None:
    plain = mean_drawing(PLAIN)
    bits = {name: on for name, on in PLAIN.items() if not name.startswith(part)} | {f"{part}-colour={colour}": 1}
    moved = np.linalg.norm(mean_drawing(bits) - plain, axis=2)
    middle = moved[rows, 32:48].mean()
    elsewhere = slice(100, 130) if part == "upper" else slice(50, 80)
    assert middle > 5 * moved[elsewhere, 32:48].mean()
    # the middle of the garment goes towards the colour
    wanted = np.array(COLOURS[colour]) - np.array(COLOURS["gray"])
    change = (mean_drawing(bits) - plain)[rows, 36:44].mean(axis=(0, 1))
    assert change @ wanted / np.linalg.norm(change) / np.linalg.norm(wanted) > 0.9


@pytest.mark.parametrize(
    ("name", "rows"),
    [("hat", slice(0, 24)), ("long-hair", slice(28, 52)), ("backpack", slice(36, 84)), ("bag", slice(36, 104))],
)
def test_things_show_where_they_are_worn(name: str, rows: slice) -> None:
    moved = np.abs(mean_drawing(PLAIN | {name: 1}) - mean_drawing(PLAIN)).sum(axis=2)
    assert moved[rows].sum() > 0.75 * moved.sum()
    assert moved[rows].max() > 20
    assert moved[120:].max() < 5


def test_the_written_data_set_is_what_was_drawn(tmp_path: Path) -> None:
    table = write_dataset(tmp_path / "drawn", num_people=12, images_per_person=3, seed=4)
    data = load_table(table)
    assert data.schema == SCHEMA
    assert len(data.train.image_paths) + len(data.test.image_paths) == 36
    people = draw_people(12, np.random.default_rng(4))
    for split in (data.train, data.test):
        for path, labels, identity in zip(split.image_paths, split.attributes, split.identities, strict=True):
            np.testing.assert_array_equal(labels, people[int(identity)])
            assert cv2.imread(str(path)).shape == (160, 80, 3)
    again = write_dataset(tmp_path / "again", num_people=12, images_per_person=3, seed=4)
    assert again.read_bytes() == table.read_bytes()
    assert (again.parent / "images/0003_01.jpg").read_bytes() == (table.parent / "images/0003_01.jpg").read_bytes()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    with pytest.raises(InputError, match="exists already"):
        write_dataset(tmp_path / "drawn", 4, 1, 0)
    assert list(tmp_path.iterdir()) == [tmp_path / "drawn"]
