"""People's own tables: what becomes a schema, what becomes a vector, and what is refused with which line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_train.datasets.load import load_dataset
from sal_train.datasets.table import load_table, read_table, schema_of

CSV = """image,identity,split,Hat,gender,Upper Colour
a.jpg,1,train,1,female,red
b.jpg,1,train,yes,female,red
c.jpg,2,train,0,male,blue
d.jpg,3,test,0,male,
e.jpg,4,test,true,female,red
"""


def write(folder: Path, text: str, name: str = "attributes.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_columns_become_groups(tmp_path: Path) -> None:
    schema = schema_of(read_table(write(tmp_path, CSV)))
    assert [(group.name, group.kind, group.sensitive) for group in schema.groups] == [
        ("hat", "binary", False),
        ("gender", "binary", True),
        ("upper-colour", "exclusive", False),
    ]
    # two words become the poles of a binary group, in alphabetical order
    assert [state.name for state in schema.groups[1].states] == ["female", "male"]
    # an empty cell makes the group one that may be none
    assert [state.name for state in schema.groups[2].states] == ["blue", "red", "none"]


def test_rows_become_vectors(tmp_path: Path) -> None:
    data = load_table(write(tmp_path, CSV))
    assert data.schema.bit_names == ("hat", "male", "upper-colour=blue", "upper-colour=red")
    np.testing.assert_array_equal(data.train.attributes, [[1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]])
    np.testing.assert_array_equal(data.test.attributes, [[0, 1, 0, 0], [1, 0, 0, 1]])
    np.testing.assert_array_equal(data.train.categories, [0, 0, 1])
    np.testing.assert_array_equal(data.seen, [False, True])
    assert data.train.identities == ("1", "1", "2")
    assert data.train.image_paths[0] == tmp_path / "a.jpg"
    np.testing.assert_allclose(data.prior, [2 / 3, 1 / 3, 1 / 3, 2 / 3])


def test_jsonl_says_the_same_as_csv(tmp_path: Path) -> None:
    lines = [
        {"image": "a.jpg", "identity": 1, "split": "train", "Hat": True, "gender": "female", "Upper Colour": "red"},
        {"image": "b.jpg", "identity": 1, "split": "train", "Hat": 1, "gender": "female", "Upper Colour": "red"},
        {"image": "c.jpg", "identity": 2, "split": "train", "Hat": False, "gender": "male", "Upper Colour": "blue"},
        {"image": "d.jpg", "identity": 3, "split": "test", "Hat": 0, "gender": "male", "Upper Colour": None},
        {"image": "e.jpg", "identity": 4, "split": "test", "Hat": 1, "gender": "female", "Upper Colour": "red"},
    ]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    by_lines = load_table(write(tmp_path / "one", "\n".join(map(json.dumps, lines)), "people.jsonl"))
    by_cells = load_table(write(tmp_path / "two", CSV))
    assert by_lines.schema.groups == by_cells.schema.groups
    np.testing.assert_array_equal(by_lines.train.attributes, by_cells.train.attributes)
    np.testing.assert_array_equal(by_lines.test.attributes, by_cells.test.attributes)


def test_a_schema_beside_the_table_gives_words_and_order(tmp_path: Path) -> None:
    path = write(tmp_path, "image,identity,coat\na.jpg,1,parka\nb.jpg,2,no\n")
    states = [{"name": "no-coat", "bit": None}, {"name": "coat", "bit": 0, "aliases": ["parka"]}]
    schema = {"name": "mine", "groups": [{"name": "coat", "kind": "binary", "sensitive": True, "states": states}]}
    write(tmp_path, json.dumps(schema), "schema.json")
    data = load_table(path)
    assert data.schema.name == "mine"
    assert data.schema.groups[0].sensitive
    assert sorted([*data.train.attributes[:, 0], *data.test.attributes[:, 0]]) == [0, 1]


def test_people_never_stand_on_both_sides_without_a_split_column(tmp_path: Path) -> None:
    rows = [f"{image}.jpg,{image // 3},{image % 2},{(image // 3) % 2}" for image in range(60)]
    path = write(tmp_path, "image,identity,hat,bag\n" + "\n".join(rows))
    data = load_table(path)
    assert not set(data.train.identities) & set(data.test.identities)
    assert len(set(data.test.identities)) == 6
    again = load_table(path)
    assert again.test.image_paths == data.test.image_paths
    assert "6 of 20 people" in data.notes[0]


def test_categories_are_split_where_people_are_not_known(tmp_path: Path) -> None:
    rows = [f"{image}.jpg,{image & 1},{image >> 1 & 1},{image >> 2 & 1}" for image in range(40)]
    data = load_table(write(tmp_path, "image,hat,bag,coat\n" + "\n".join(rows)))
    assert not data.seen.any()
    assert data.train.num_categories + data.test.num_categories == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("hat,bag\n1,0\n", "no column `image`"),
        ("image,identity\na.jpg,1\n", "no attribute columns"),
        ("image,hat\na.jpg,1\nb.jpg\n", "line 3: 1 cells, the header has 2"),
        ("image,hat,hat\na.jpg,1,1\n", "name each column once"),
        ("image,Hat,hat\na.jpg,1,1\n", "differ only in case"),
        ("image,hat\na.jpg,1\nb.jpg,\n", r"line 3, `hat`: '', expected no-hat\|hat"),
        ("image,colour\na.jpg,red\nb.jpg,red\n", "always says 'red'"),
        ("image,split,hat\na.jpg,train,1\nb.jpg,valid,0\n", "line 3: `split` must be train or test"),
        ("image,split,hat\na.jpg,train,1\nb.jpg,train,0\n", "the test split is empty"),
        ("image,height\n" + "".join(f"{n}.jpg,{n + 140}\n" for n in range(40)), "40 different values"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_table(write(tmp_path, text))


def test_columns_that_are_not_in_the_schema_are_named(tmp_path: Path) -> None:
    states = [{"name": "no-coat", "bit": None}, {"name": "coat", "bit": 0}]
    schema = {"name": "mine", "groups": [{"name": "coat", "kind": "binary", "states": states}]}
    write(tmp_path, json.dumps(schema), "schema.json")
    with pytest.raises(InputError, match="missing coat, not in the schema hat"):
        load_table(write(tmp_path, "image,hat\na.jpg,1\n"))


@pytest.mark.parametrize(("line", "message"), [("{", "line 1: not JSON"), ('{"image": ["a"]}', "one flat object")])
def test_broken_jsonl_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_table(write(tmp_path, line + "\n", "people.jsonl"))


def test_the_table_of_a_folder_is_found(tmp_path: Path) -> None:
    write(tmp_path, CSV, "people.csv")
    assert load_dataset(str(tmp_path), Path()).train.num_categories == 2
    assert load_dataset(tmp_path.name, tmp_path.parent).train.num_categories == 2
    write(tmp_path, CSV, "more.csv")
    with pytest.raises(InputError, match=r"found more.csv, people.csv"):
        load_dataset(str(tmp_path), Path())
    with pytest.raises(InputError, match="no such data set"):
        load_dataset("nowhere", tmp_path)
