"""Your own data: a folder of images and a table of attributes, CSV or JSON Lines (docs/data.md).

Each row is one image: `image` (a path relative to the table), optionally `identity` (the person) and `split` (`train`
or `test`), and one column per attribute. The schema follows from the columns, unless a file `schema.json` beside the
table gives words, synonyms and sensitive attributes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.schema import NONE_STATE, AttributeSchema, Group, binary, exclusive, normalise_word
from sal_train.datasets.splits import SearchDataset, Split, seen_categories, split_from_rows

RESERVED = ("image", "identity", "split")
SPLITS = ("train", "test")
YES_NO = {"1": 1, "0": 0, "true": 1, "false": 0, "yes": 1, "no": 0}
SENSITIVE = ("age", "disability", "ethnicity", "gender", "race", "religion", "sex", "skin", "skin-colour", "skin-color")
"""Columns that are marked as sensitive if the schema follows from the columns."""
TEST_SHARE = 0.3
MAX_STATES = 32
MAX_NAMED = 5

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        path: the file.
        rows: line number and cells, as text by column, of each row.
        columns: attribute columns: the name in the file by the normalised name.
    """

    path: Path
    rows: tuple[tuple[int, Row], ...]
    columns: Mapping[str, str]


def load_table(path: Path) -> SearchDataset:
    """Load a table of images and attributes.

    Without a column `split`, three in ten people are the test split, always the same ones; without identities, three
    in ten categories.

    Args:
        path: the .csv or .jsonl file, or a folder with one such file.

    Raises:
        InputError: the file is missing or malformed, or has cells that mean nothing; the message names the first lines.
        SchemaError: `schema.json` is not a schema.
    """
    table = read_table(table_file(path))
    schema = schema_of(table)
    vectors, problems = label_vectors(table, schema)
    if problems:
        named = "; ".join(problems[:MAX_NAMED])
        raise InputError(f"{table.path}: {len(problems)} cells are not understood: {named}")
    notes: list[str] = []
    is_test = _test_rows(table, vectors, notes)
    train, test = (_split(table, vectors, np.flatnonzero(is_test == side)) for side in (False, True))
    for name, split in (("train", train), ("test", test)):
        if not split.image_paths:
            raise InputError(f"{table.path}: the {name} split is empty; label rows `{name}` in the column `split`")
    return SearchDataset(
        name=table.path.parent.name if table.path.stem == "attributes" else table.path.stem,
        schema=schema,
        train=train,
        test=test,
        seen=seen_categories(train, test),
        prior=train.attributes.mean(axis=0),
        one_draw_groups=tuple(group.name for group in schema.groups if group.kind == "exclusive"),
        notes=tuple(notes),
        attribution=str(table.path),
        licence="yours: terms of the training images apply",
    )


def table_file(path: Path) -> Path:
    """The file `path`, or the only .csv or .jsonl file of the folder `path`.

    Raises:
        InputError: there is none, or more than one.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such data set; give market1501, peta, a folder, or a .csv or .jsonl file")
    tables = sorted(file for file in path.iterdir() if file.suffix.lower() in (".csv", ".jsonl"))
    if len(tables) != 1:
        listed = ", ".join(file.name for file in tables) or "none"
        raise InputError(f"{path}: expected one .csv or .jsonl file in this folder, found {listed}; name the file")
    return tables[0]


def read_table(path: Path) -> Table:
    """Read the cells of a .csv or .jsonl file.

    Raises:
        InputError: it is not such a file, or columns are missing or repeated.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    rows = _jsonl_rows(path, text) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text)
    if not rows:
        raise InputError(f"{path}: no rows; expected one per image")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    if "image" not in names:
        raise InputError(f"{path}: no column `image`; the columns are {', '.join(names)}")
    columns = {normalise_word(name): name for name in names if name not in RESERVED}
    if len(columns) + sum(name in RESERVED for name in names) != len(names):
        raise InputError(f"{path}: two column names differ only in case, blanks or underscores; rename one of them")
    if not columns:
        raise InputError(f"{path}: no attribute columns; the columns are {', '.join(names)}")
    return Table(path, tuple(rows), columns)


def _csv_rows(path: Path, text: str) -> list[tuple[int, Row]]:
    reader = csv.reader(text.splitlines())
    header = [name.strip() for name in next(reader, [])]
    if len(set(header)) != len(header) or "" in header:
        raise InputError(f"{path}: the first line must name each column once; it is {','.join(header)!r}")
    rows = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}")
        rows.append((reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))))
    return rows


def _jsonl_rows(path: Path, text: str) -> list[tuple[int, Row]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not JSON ({error.msg})") from error
        if not isinstance(entry, dict) or any(isinstance(value, list | dict) for value in entry.values()):
            raise InputError(f"{path}, line {number}: expected one flat object per line: {{'image': 'a.jpg', ...}}")
        rows.append((number, {str(name): _cell(value) for name, value in entry.items()}))
    return rows


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def schema_of(table: Table) -> AttributeSchema:
    """The schema in `schema.json` beside the table, or the one that follows from its columns.

    A column of 0/1 (yes/no, true/false) becomes a binary group, a column of two words a binary group with these words
    as poles, a column of more words an exclusive group, in which an empty cell is the state `none`.

    Raises:
        InputError: a column cannot be an attribute, or the schema and the columns do not match.
        SchemaError: `schema.json` is not a schema.
    """
    path = table.path.with_name("schema.json")
    if not path.is_file():
        return _schema_of_columns(table)
    try:
        schema = AttributeSchema.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    names = {group.name for group in schema.groups}
    if names != set(table.columns):
        missing, extra = sorted(names - set(table.columns)), sorted(set(table.columns) - names)
        raise InputError(
            f"{table.path}: the columns do not match the groups of {path.name}: "
            f"missing {', '.join(missing) or 'none'}, not in the schema {', '.join(extra) or 'none'}"
        )
    return schema


def _schema_of_columns(table: Table) -> AttributeSchema:
    groups: list[Group] = []
    next_bit = 0
    for name, column in table.columns.items():
        words = {normalise_word(row.get(column, "")) for _, row in table.rows}
        group = _group_of_words(table.path, name, words, next_bit)
        groups.append(group)
        next_bit += len(group.bits)
    return AttributeSchema(normalise_word(table.path.parent.resolve().name or table.path.stem), tuple(groups))


def _group_of_words(path: Path, name: str, words: set[str], bit: int) -> Group:
    sensitive = name in SENSITIVE
    named = sorted(words - {"", NONE_STATE})
    if words - {""} <= set(YES_NO):
        return binary(name, bit, sensitive=sensitive)
    if len(named) == 2 and words == set(named):
        return binary(name, bit, absent=named[0], present=named[1], sensitive=sensitive)
    if len(named) < 2:
        raise InputError(f"{path}: column `{name}` always says {named[0]!r}; use 0 and 1, or leave the column out")
    if len(named) > MAX_STATES:
        raise InputError(
            f"{path}: column `{name}` has {len(named)} different values; an attribute may have {MAX_STATES} "
            "(divide numbers into classes first)"
        )
    bits = {word: bit + index for index, word in enumerate(named)}
    return exclusive(name, bits, allow_none=words != set(named), sensitive=sensitive)


def label_vectors(table: Table, schema: AttributeSchema) -> tuple[UInt8Array, list[str]]:
    """Attribute vectors uint8 [N, A] of the rows, and one message for each cell that means nothing."""
    states = np.zeros((len(table.rows), len(schema.groups)), dtype=np.int64)
    problems = []
    for number, group in enumerate(schema.groups):
        column = table.columns[group.name]
        for index, (line, row) in enumerate(table.rows):
            state = _state_of_cell(group, row.get(column, ""))
            if state is None:
                expected = "|".join(known.name for known in group.states)
                problems.append(f"line {line}, `{column}`: {row.get(column, '')!r}, expected {expected}")
            else:
                states[index, number] = state
    return schema.vectors_from_states(states), problems


def _state_of_cell(group: Group, cell: str) -> int | None:
    if group.kind == "binary" and cell.lower() in YES_NO:
        return YES_NO[cell.lower()]
    return group.state_index(cell or NONE_STATE)


def _test_rows(table: Table, vectors: UInt8Array, notes: list[str]) -> BoolArray:
    """Whether each row belongs to the test split, bool [N]."""
    given = [row.get("split", "").lower() for _, row in table.rows]
    if any(given):
        wrong = [line for (line, _), split in zip(table.rows, given, strict=True) if split not in SPLITS]
        if wrong:
            raise InputError(f"{table.path}, line {wrong[0]}: `split` must be train or test ({len(wrong)} such lines)")
        return np.array([split == "test" for split in given])
    identities = [row.get("identity", "") for _, row in table.rows]
    by_identity = all(identities)
    keys: Sequence[object] = identities if by_identity else [vector.tobytes() for vector in vectors]
    distinct = list(dict.fromkeys(keys))
    chosen = np.random.default_rng(0).permutation(len(distinct))[: max(1, round(TEST_SHARE * len(distinct)))]
    test = {distinct[index] for index in chosen}
    notes.append(
        f"no column `split`: {len(test)} of {len(distinct)} {'people' if by_identity else 'categories'}, "
        "always the same, are the test split"
    )
    return np.array([key in test for key in keys])


def _split(table: Table, vectors: UInt8Array, rows: Int64Array) -> Split:
    cells = [table.rows[row][1] for row in rows]
    images = [table.path.parent / row["image"] for row in cells]
    return split_from_rows(images, vectors[rows], [row.get("identity", "") for row in cells])
