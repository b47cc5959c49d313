"""PA-100K on a drawn tree: layouts, oddities of copies, labels by name, and clear errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_runtime.errors import InputError, SchemaError
from sal_runtime.query.language import parse_query
from sal_train.datasets.load import load_dataset
from sal_train.datasets.pa100k import ATTRIBUTES, SCHEMA
from tests.command_line import run_sal
from tests.train.datasets.drawn_pa100k import SIZES, cells, fields, write_pa100k

PUBLISHED_ORDER = """Female AgeOver60 Age18-60 AgeLess18 Front Side Back Hat Glasses HandBag ShoulderBag Backpack
    HoldObjectsInFront ShortSleeve LongSleeve UpperStride UpperLogo UpperPlaid UpperSplice LowerStripe LowerPattern
    LongCoat Trousers Shorts Skirt&Dress boots"""
WORDS = {
    "female": "Female",
    "over-60": "AgeOver60",
    "18-60": "Age18-60",
    "under-18": "AgeLess18",
    "front-view": "Front",
    "side-view": "Side",
    "back-view": "Back",
    "hat": "Hat",
    "glasses": "Glasses",
    "handbag": "HandBag",
    "shoulder-bag": "ShoulderBag",
    "backpack": "Backpack",
    "holding-in-front": "HoldObjectsInFront",
    "short-sleeve": "ShortSleeve",
    "long-sleeve": "LongSleeve",
    "stripes-upper": "UpperStride",
    "logo": "UpperLogo",
    "plaid-upper": "UpperPlaid",
    "splice-upper": "UpperSplice",
    "stripes-lower": "LowerStripe",
    "pattern-lower": "LowerPattern",
    "long-coat": "LongCoat",
    "trousers": "Trousers",
    "shorts": "Shorts",
    "skirt": "Skirt&Dress",
    "boots": "boots",
}


def test_the_schema_has_the_published_attributes() -> None:
    assert tuple(PUBLISHED_ORDER.split()) == ATTRIBUTES
    assert SCHEMA.num_bits == 26
    assert [WORDS[name.rpartition("=")[2]] for name in SCHEMA.bit_names] == list(ATTRIBUTES)
    assert {group.name for group in SCHEMA.groups if group.sensitive} == {"gender", "age"}


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("old man with a backpack, no hat", "over-60,male,backpack,no-hat"),
        ("woman in a long coat", "female,long-coat"),
        ("child in shorts", "under-18,shorts"),
        ("woman in a skirt or trousers", "female,trousers|skirt"),
        ("adult with a bag, glasses, from behind", "18-60,shoulder-bag,glasses,back-view"),
        ("man, long sleeves, plaid", "male,long-sleeve,plaid-upper"),
    ],
)
def test_people_can_type_their_own_words(text: str, understood: str) -> None:
    assert parse_query(text, SCHEMA).understood == understood


def test_a_bag_on_the_back_is_no_view() -> None:
    with pytest.raises(SchemaError, match="'back'"):
        parse_query("man with a bag on the back", SCHEMA)


@pytest.mark.parametrize("name", ["PA-100K", "PA100K", "pa100k"])
@pytest.mark.parametrize(
    "pictures", ["data", "release_data", "images", ".", "release_data/release_data", "data/release_data/release_data"]
)
def test_every_layout_gives_the_published_parts(tmp_path: Path, pictures: str, name: str) -> None:
    content = fields()
    place = write_pa100k(tmp_path, content, pictures, name=name)
    data = load_dataset("pa100k", tmp_path)
    assert data.train.image_paths == tuple(place / f"{number:06d}.jpg" for number in range(1, 47))
    assert data.test.image_paths == tuple(place / f"{number:06d}.jpg" for number in range(47, 57))
    np.testing.assert_array_equal(data.test.attributes, content["test_label"])
    np.testing.assert_array_equal(data.train.attributes, np.vstack([content["train_label"], content["val_label"]]))
    assert set(data.train.identities) | set(data.test.identities) == {""}
    assert data.test.num_categories == len({row.tobytes() for row in content["test_label"]})


def test_the_folder_itself_and_a_folder_for_the_labels_will_do(tmp_path: Path) -> None:
    write_pa100k(tmp_path, fields(), labels="annotation/annotation.mat")
    assert load_dataset("pa100k", tmp_path / "PA-100K").name == "pa100k"


def test_a_part_of_the_data_is_loaded_with_a_note(tmp_path: Path) -> None:
    write_pa100k(tmp_path, fields())
    notes = load_dataset("pa100k", tmp_path).notes
    assert notes == tuple(
        f"{count} images in part {part}; published were {published}"
        for (part, count), published in zip(SIZES.items(), (80_000, 10_000, 10_000), strict=True)
    )


def test_what_copies_do_to_the_file_is_understood_and_noted(tmp_path: Path) -> None:
    content = fields()
    content["attributes"] = cells(["", *ATTRIBUTES[1:-2], "skirt_dress", "Boots"])
    content["text_images_name"] = content.pop("test_images_name")
    content["train_images_name"][0, 0] = np.zeros((0, 0))
    write_pa100k(tmp_path, content)
    data = load_dataset("pa100k", tmp_path)
    assert len(data.test.image_paths) == 10
    assert data.train.image_paths[0].name == "000002.jpg"
    np.testing.assert_array_equal(data.train.attributes[0], content["train_label"][1])
    assert data.notes[:3] == (
        "annotation.mat leaves the name of an attribute blank; by its place it is Female",
        "1 of 40 cells of train_images_name are empty; left out",
        "40 images in part train; published were 80000",
    )
    assert "annotation.mat calls the field test_images_name text_images_name" in data.notes


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(name)


def with_field(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({name: change(content[name])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("val_label"), r"has no field 'val_label'; it holds attributes, test_images_name, test_label, train_"),
        (without("test_images_name"), "has no field 'test_images_name'"),
        (without("attributes"), "has no field 'attributes'"),
        (
            with_field("train_label", lambda label: label[:-1]),
            r"train_label is \(39, 26\), expected \(40, 26\), one row",
        ),
        (with_field("val_label", lambda label: label[:, 1:]), r"val_label is \(6, 25\), expected \(6, 26\)"),
        (with_field("test_label", lambda label: label + 1), "test_label holds values other than 0 and 1"),
        (with_field("attributes", lambda names: names[:-1]), "25 names of attributes, expected 26"),
        (with_field("attributes", lambda names: names[::-1]), "the attribute 'boots' is where 'Female' should be"),
        (with_field("val_images_name", lambda names: cells([""] * len(names))), "val_images_name names no picture"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    content = fields()
    change(content)
    write_pa100k(tmp_path, content)
    with pytest.raises(InputError, match=message):
        load_dataset("pa100k", tmp_path)


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    place = write_pa100k(tmp_path, fields())
    for number in (3, 50):
        (place / f"{number:06d}.jpg").unlink()
    with pytest.raises(InputError, match=r"data: 2 of 56 pictures are missing, the first is 000003\.jpg"):
        load_dataset("pa100k", tmp_path)
    place.rename(place.with_name("elsewhere"))
    with pytest.raises(InputError, match=r"PA-100K: none of the 56 pictures is in it, or in data, release_data"):
        load_dataset("pa100k", tmp_path)


def test_what_is_no_attribute_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected PA-100K/annotation\.mat in the data folder"):
        load_dataset("pa100k", tmp_path)
    (tmp_path / "annotation.mat").write_text("<html>a download page</html>" * 40)
    with pytest.raises(InputError, match="not the attribute file"):
        load_dataset("pa100k", tmp_path)


def test_the_command_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pa100k(tmp_path, fields())
    assert run_sal(capsys, "data", "check", "--dataset", "pa100k", "--data", tmp_path)[0] == 0
    code, printed, _ = run_sal(capsys, "data", "stats", "--dataset", "pa100k", "--data", tmp_path)
    assert code == 0
    assert "CC BY 4.0 by its authors' repository" in printed
    assert "sensitive: gender, age" in printed
