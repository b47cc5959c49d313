"""People's own tables: what becomes a schema, what becomes a vector, and what is refused with which line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_train.datasets.columns import schema_of
from sal_train.datasets.load import load_dataset
from sal_train.datasets.table import load_table
from sal_train.datasets.table_file import read_table

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
        ("image,hat\na.jpg,1\nb.jpg,\n", "line 3, `hat`: '', expected 1 or 0; .* `_hat` to leave it out"),
        ("image,colour\na.jpg,red\nb.jpg,red\n", "always says 'red'"),
        ("image,split,hat\na.jpg,train,1\nb.jpg,val,0\n", "line 3: `split` is 'val', .* call these rows train"),
        ("image,split,hat\na.jpg,train,1\nb.jpg,,0\n", "line 3: `split` is '', .* label every row"),
        ("image,hat\na.jpg,1\nb.jpg,1\n", "one combination of attributes, so no test split can be drawn"),
        ("image,identity,hat\na.jpg,1,1\nb.jpg,1,0\n", "one person, so no test split can be drawn"),
        ("image,hat\n\0a.jpg,1\n", "save it as UTF-8"),
        ("image,split,hat\na.jpg,train,1\nb.jpg,train,0\n", "the test split is empty"),
        ("image,height\n" + "".join(f"{n}.jpg,{n + 140}\n" for n in range(40)), "40 different values"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_table(write(tmp_path, text))


def test_columns_without_which_the_schema_is_not_whole_are_named(tmp_path: Path) -> None:
    states = [{"name": "no-coat", "bit": None}, {"name": "coat", "bit": 0}]
    schema = {"name": "mine", "groups": [{"name": "coat", "kind": "binary", "states": states}]}
    write(tmp_path, json.dumps(schema), "schema.json")
    with pytest.raises(InputError, match=r"no column for coat of schema\.json; the columns are hat"):
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


def cells(folder: Path, *values: object) -> Path:
    """A table with one attribute, `hat`, of these values; the last row is the test split."""
    lines = [f"{row}.jpg,{'train' if row + 1 < len(values) else 'test'},{value}" for row, value in enumerate(values)]
    return write(folder, "\n".join(["image,split,hat", *lines]))


@pytest.mark.parametrize(
    ("no", "yes"),
    [
        ("0.0", "1.0"),
        ("-1", "1"),
        ("-1.0", "+1.0"),
        ("0e0", "1e0"),
        ('"0,0"', '"1,0"'),
        ("N", "Y"),
        ("F", "T"),
        ("FALSCH", "WAHR"),
        ("Nein", "ja"),
        ("off", "on"),
        ("non", "oui"),
        ("absent", "present"),
        (" No ", "YES"),
    ],
)
def test_every_way_to_write_yes_and_no_is_a_binary_attribute(tmp_path: Path, no: str, yes: str) -> None:
    data = load_table(cells(tmp_path, yes, no, yes, no))
    assert [state.name for state in data.schema.groups[0].states] == ["no-hat", "hat"]
    assert [*data.train.attributes[:, 0], *data.test.attributes[:, 0]] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "values", [(1, 2), (0, 2), ("1.0", "2.0"), (-1, 0), (3, 4), (7, 7), ("yes", "cap"), (1, "yess")]
)
def test_two_values_that_are_no_words_for_yes_and_no_are_refused(tmp_path: Path, values: tuple[object, object]) -> None:
    with pytest.raises(InputError, match=r"column `hat` holds .*; expected 1/0, 1/-1, true/false, yes/no"):
        load_table(cells(tmp_path, *values))


@pytest.mark.parametrize("blank", ["", "NaN", "nan", "N/A", "n/a", "NULL", "None", "-", "?", "#N/A", "<NA>", "none"])
def test_every_way_to_write_nothing_is_an_empty_cell(tmp_path: Path, blank: str) -> None:
    path = write(tmp_path, f"image,split,upper\na.jpg,train,red\nb.jpg,train,{blank}\nc.jpg,test,blue\n")
    data = load_table(path)
    assert [state.name for state in data.schema.groups[0].states] == ["blue", "red", "none"]
    np.testing.assert_array_equal(data.train.attributes, [[0, 1], [0, 0]])
    with pytest.raises(InputError, match=r"line 3, `hat`: .*, expected 1 or 0"):
        load_table(cells(tmp_path, 1, blank, 0))


def test_numbers_and_blanks_of_json_are_those_of_csv(tmp_path: Path) -> None:
    lines = ['{"image": "a.jpg", "hat": 1.0, "upper": "red", "identity": 1}']
    lines += ['{"image": "b.jpg", "hat": 0.0, "upper": NaN, "identity": NaN}']
    lines += ['{"image": "c.jpg", "hat": true, "upper": "blue", "identity": null}']
    data = load_table(write(tmp_path, "\n".join(lines), "people.jsonl"))
    assert data.schema.bit_names == ("hat", "upper=blue", "upper=red")
    assert sorted([*data.train.identities, *data.test.identities]) == ["", "", "1"]
    array = "[" + ",\n".join(lines) + "]"
    other = load_table(write(tmp_path, array, "people.json"))
    np.testing.assert_array_equal(other.train.attributes, data.train.attributes)


def test_a_schema_may_call_a_state_by_a_blank_or_a_number(tmp_path: Path) -> None:
    states = [{"name": "na", "bit": 0}, {"name": "2.0", "bit": 1}, {"name": "3", "bit": 2}]
    group = {"name": "kind", "kind": "exclusive", "states": states}
    write(tmp_path, json.dumps({"name": "mine", "groups": [group]}), "schema.json")
    path = write(tmp_path, "image,split,kind\na.jpg,train,NA\nb.jpg,train,2.0\nc.jpg,test,3.0\n")
    np.testing.assert_array_equal(load_table(path).train.attributes, [[1, 0, 0], [0, 1, 0]])


def test_a_letter_is_not_taken_for_yes_or_no_where_the_poles_have_names(tmp_path: Path) -> None:
    states = [{"name": "male", "bit": None}, {"name": "female", "bit": 0}]
    group = {"name": "gender", "kind": "binary", "states": states}
    write(tmp_path, json.dumps({"name": "mine", "groups": [group]}), "schema.json")
    with pytest.raises(InputError, match=r"line 2, `gender`: 'f', expected male\|female"):
        load_table(write(tmp_path, "image,split,gender\na.jpg,train,f\nb.jpg,test,male\n"))


@pytest.mark.parametrize(
    "header", ["image,Identity,Split,hat", " IMAGE , identity ,SPLIT,hat", "Image,IDENTITY,split,Hat"]
)
def test_reserved_columns_are_known_in_any_capitals(tmp_path: Path, header: str) -> None:
    data = load_table(write(tmp_path, header + "\na.jpg,7,train,1\nb.jpg,8,test,0\n"))
    assert data.schema.bit_names == ("hat",)
    assert (data.train.identities, data.test.identities) == (("7",), ("8",))
    assert data.train.image_paths == (tmp_path / "a.jpg",)


def test_a_row_without_an_identity_is_a_person_of_its_own(tmp_path: Path) -> None:
    people = ["" if image == 5 else str(image // 3) for image in range(60)]
    rows = [f"{image}.jpg,{person},{image % 2},{(image // 3) % 2}" for image, person in enumerate(people)]
    data = load_table(write(tmp_path, "image,identity,hat,bag\n" + "\n".join(rows)))
    assert not (set(data.train.identities) & set(data.test.identities)) - {""}
    assert data.notes[0] == "1 row has no identity; each is a person of its own"
    assert "6 of 21 people" in data.notes[1]


def test_columns_with_one_word_or_none(tmp_path: Path) -> None:
    for blank in ("none", "", "NaN"):
        data = load_table(write(tmp_path, f"image,split,headwear\na.jpg,train,hood\nb.jpg,test,{blank}\n"))
        assert data.schema.bit_names == ("hood",)
        assert data.schema.groups[0].states[0].words() == ("no-hood", "none")
        assert [*data.train.attributes[:, 0], *data.test.attributes[:, 0]] == [1, 0]
        with pytest.raises(InputError, match="column `headwear` is empty or none in every row"):
            load_table(write(tmp_path, f"image,split,headwear\na.jpg,train,none\nb.jpg,test,{blank}\n"))


@pytest.mark.parametrize("end", ["\u2028", "\u0085", "\x0b", "\x0c", "\n", "\r\n", "\r", "\x1c"])
def test_line_ends_inside_cells_end_no_row(tmp_path: Path, end: str) -> None:
    csv_text = f'image,note\r\na.jpg,"a{end}b"\r\nb.jpg,c\r\n'
    (tmp_path / "people.csv").write_bytes(csv_text.encode())
    lines = [json.dumps({"image": "a.jpg", "note": f"a{end}b"}, ensure_ascii=False), '{"image": "b.jpg", "note": "c"}']
    (tmp_path / "people.jsonl").write_bytes("\r\n".join(lines).encode())
    for name in ("people.csv", "people.jsonl"):
        assert [row["note"] for _, row in read_table(tmp_path / name).rows] == [f"a{end}b", "c"]


def test_huge_cells_are_read(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, f"image,note\na.jpg,{'x' * 200_000}\nb.jpg,c\n"))
    assert len(table.rows[0][1]["note"]) == 200_000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_part_of_table_and_schema(tmp_path: Path, encoding: str) -> None:
    states = [{"name": "no-coat", "bit": None}, {"name": "coat", "bit": 0}]
    schema = {"name": "mine", "groups": [{"name": "coat", "kind": "binary", "states": states}]}
    (tmp_path / "schema.json").write_bytes(json.dumps(schema).encode(encoding))
    (tmp_path / "people.csv").write_bytes("image,split,coat\na.jpg,train,1\nb.jpg,test,0\n".encode(encoding))
    assert load_table(tmp_path).schema.name == "mine"


def test_files_that_systems_leave_beside_the_table_are_passed_over(tmp_path: Path) -> None:
    for name in ("._people.csv", "~people.csv", ".hidden.jsonl"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "folder.csv").mkdir()
    write(tmp_path, CSV, "people.csv")
    assert load_table(tmp_path).name == "people"


def test_suffixes_of_tables(tmp_path: Path) -> None:
    rows = [line.split(",") for line in CSV.splitlines()]
    lines = [json.dumps(dict(zip(rows[0], row, strict=True))) for row in rows[1:]]
    texts = {
        "a.tsv": CSV.replace(",", "\t"),
        "b.ndjson": "\n".join(lines),
        "c.json": f"[{','.join(lines)}]",
        "d.CSV": CSV,
    }
    expected = load_table(write(tmp_path, CSV))
    (tmp_path / "attributes.csv").unlink()
    for name, text in texts.items():
        path = write(tmp_path, text, name)
        data = load_table(path if name == "c.json" else tmp_path)
        np.testing.assert_array_equal(data.train.attributes, expected.train.attributes)
        path.unlink()


@pytest.mark.parametrize("line", ['{"hat": 1}', '{"image": null, "hat": 1}', '{"image": NaN, "hat": 1}'])
def test_rows_without_an_image_are_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match="line 2: the cell `image` is empty"):
        load_table(write(tmp_path, '{"image": "a.jpg", "hat": 0}\n' + line, "people.jsonl"))


def test_columns_are_left_out_by_name_or_by_the_schema(tmp_path: Path) -> None:
    notes = "\n".join(f"{number}.jpg,{number % 2},note {number}" for number in range(40))
    data = load_table(write(tmp_path, f"image,hat,_Note\n{notes}\n"))
    assert data.schema.bit_names == ("hat",)
    assert not [note for note in data.notes if "Note" in note]
    states = [{"name": "no-hat", "bit": None}, {"name": "hat", "bit": 0}]
    schema = {"name": "mine", "groups": [{"name": "hat", "kind": "binary", "states": states}]}
    write(tmp_path, json.dumps(schema), "schema.json")
    data = load_table(write(tmp_path, f"image,hat,Note\n{notes}\n"))
    assert data.schema.bit_names == ("hat",)
    assert "not in schema.json, and left out: Note" in data.notes


@pytest.mark.parametrize(
    "text",
    [
        "image;identity;hat\na.jpg;1;1\nb.jpg;2;0\n",
        "image\tidentity\that\na.jpg\t1\t1\nb.jpg\t2\t0\n",
        '"image";"identity";"hat"\r\n"a.jpg";"1.0";"1"\r\n"b.jpg";"2.0";"0"\r\n',
        "\ufeff\ufeff\n\nimage,identity,hat\na.jpg,1,1\n,,\nb.jpg,2,0\n",
    ],
)
def test_delimiters_and_blank_lines_of_spreadsheets(tmp_path: Path, text: str) -> None:
    data = load_table(write(tmp_path, text))
    assert data.schema.bit_names == ("hat",)
    assert {path.name for split in (data.train, data.test) for path in split.image_paths} == {"a.jpg", "b.jpg"}
    assert {*data.train.identities, *data.test.identities} == {"1", "2"}


def test_backslashes_of_windows_are_folders_where_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "odd\\name.jpg").touch()
    data = load_table(write(tmp_path, "image,split,hat\nimages\\a.jpg,train,1\nodd\\name.jpg,test,0\n"))
    assert data.train.image_paths == (tmp_path / "images" / "a.jpg",)
    assert data.test.image_paths == (tmp_path / "odd\\name.jpg",)


def test_one_letter_may_be_a_word(tmp_path: Path) -> None:
    data = load_table(write(tmp_path, "image,split,sex\na.jpg,train,f\nb.jpg,test,m\n"))
    assert [state.name for state in data.schema.groups[0].states] == ["f", "m"]
    np.testing.assert_array_equal(data.train.attributes, [[0]])


@pytest.mark.parametrize("unknown", ["-1", "unknown", "-1.0"])
def test_codes_for_unknown_people_are_no_person(tmp_path: Path, unknown: str) -> None:
    rows = "".join(f"{number}.jpg,{unknown},{number % 2}\n" for number in range(9))
    data = load_table(write(tmp_path, f"image,identity,hat\n{rows}9.jpg,7.0,1\n10.jpg,7,1\n"))
    assert {*data.train.identities, *data.test.identities} == {"", "7"}
    assert "9 rows have no identity; each is a person of its own" in data.notes


def test_a_column_that_hardly_is_an_attribute_is_told(tmp_path: Path) -> None:
    data = load_table(write(tmp_path, "image,Person_ID,hat\na.jpg,7,1\nb.jpg,8,0\nc.jpg,9,0\n"))
    assert "call it `identity`" in data.notes[0]
    assert "`Person_ID`" in data.notes[0]


def test_the_data_set_of_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, CSV)
    monkeypatch.chdir(tmp_path)
    assert load_dataset(".", Path()).name == tmp_path.name
