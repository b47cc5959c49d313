"""Your own data: a folder of images and a table of attributes (docs/data.md).

Each row is one image: `image` (a path relative to the table), optionally `identity` (the person) and `split` (`train`
or `test`), and one column per attribute. The schema follows from the columns, unless a file `schema.json` beside the
table gives words, synonyms and sensitive attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema
from sal_train.datasets.columns import columns_left_out, label_vectors, schema_of
from sal_train.datasets.splits import SearchDataset, Split, seen_categories, split_from_rows
from sal_train.datasets.table_file import LEFT_OUT, Table, read_table, table_file

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
"""The split by the words in the column `split`."""
VALIDATION_WORDS = ("val", "valid", "validation", "dev")
OTHER_COLUMNS = """id pid person person-id personid track track-id camera camera-id cam cam-id file filename file-name
    path time timestamp date frame x y w h bbox box"""
"""Names of columns that hardly ever are attributes."""
TEST_SHARE = 0.3


def load_table(path: Path) -> SearchDataset:
    """Load a table of images and attributes.

    Without a column `split`, three in ten people are the test split, always the same ones; a row without an identity is
    a person of its own. If no row has an identity, three in ten categories are the test split.

    Args:
        path: the table, or a folder with one such file.

    Raises:
        InputError: the file is missing or malformed, or has cells that mean nothing; the message names the first lines.
        SchemaError: `schema.json` is not a schema.
    """
    table = read_table(table_file(path))
    schema = schema_of(table)
    vectors = label_vectors(table, schema)
    notes = _column_notes(table, schema)
    is_test = _test_rows(table, vectors, notes)
    train, test = (_split(table, vectors, np.flatnonzero(is_test == side)) for side in (False, True))
    folder = table.path.resolve().parent.name
    return SearchDataset(
        name=folder if table.path.stem == "attributes" and folder else table.path.stem,
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


def _column_notes(table: Table, schema: AttributeSchema) -> list[str]:
    """What a person should know about the columns."""
    left_out = columns_left_out(table, schema)
    notes = [f"not in schema.json, and left out: {', '.join(left_out)}"] if left_out else []
    for name in sorted({group.name for group in schema.groups} & set(OTHER_COLUMNS.split())):
        notes.append(
            f"the column `{table.columns[name]}` is taken for an attribute; call it `identity` if it says who a person "
            f"is, or `{LEFT_OUT}{name}` to leave it out"
        )
    return notes


def _given_split(table: Table) -> BoolArray | None:
    """Whether the column `split` says test, bool [N]; None if it says nothing."""
    given = [row.get("split", "").lower() for _, row in table.rows]
    if not any(given):
        return None
    wrong = [(line, split) for (line, _), split in zip(table.rows, given, strict=True) if split not in SPLITS]
    if wrong:
        line, split = wrong[0]
        remedy = "label every row"
        if split in VALIDATION_WORDS:
            remedy = "call these rows train: training holds some of its categories out for validation by itself"
        raise InputError(
            f"{table.path}, line {line}: `split` is {split!r}, expected train or test ({len(wrong)} such lines); "
            f"{remedy}"
        )
    sides = {SPLITS[split] for split in given}
    if len(sides) == 1:
        missing = "test" if sides == {"train"} else "train"
        raise InputError(f"{table.path}: the {missing} split is empty; label rows `{missing}` in the column `split`")
    return np.array([SPLITS[split] == "test" for split in given])


def _test_rows(table: Table, vectors: UInt8Array, notes: list[str]) -> BoolArray:
    """Whether each row belongs to the test split, bool [N]."""
    given = _given_split(table)
    if given is not None:
        return given
    identities = [row.get("identity", "") for _, row in table.rows]
    by_identity = any(identities)
    keys: Sequence[object] = [vector.tobytes() for vector in vectors]
    if by_identity:  # a row without an identity is a person of its own; its key is a number, so no identity equals it
        keys = [identity or row for row, identity in enumerate(identities)]
        if not all(identities):
            count = identities.count("")
            notes.append(f"{count} {'row has' if count == 1 else 'rows have'} no identity; each is a person of its own")
    distinct = list(dict.fromkeys(keys))
    if len(distinct) == 1:
        raise InputError(
            f"{table.path}: all rows are of one {'person' if by_identity else 'combination of attributes'}, so no test "
            "split can be drawn; add others"
        )
    chosen = np.random.default_rng(0).permutation(len(distinct))[: max(1, round(TEST_SHARE * len(distinct)))]
    test = {distinct[index] for index in chosen}
    notes.append(
        f"no column `split`: {len(test)} of {len(distinct)} {'people' if by_identity else 'categories'}, "
        "always the same, are the test split"
    )
    return np.array([key in test for key in keys])


def _split(table: Table, vectors: UInt8Array, rows: Int64Array) -> Split:
    cells = [table.rows[row][1] for row in rows]
    images = [_image_path(table.path.parent, row["image"]) for row in cells]
    return split_from_rows(images, vectors[rows], [row.get("identity", "") for row in cells])


def _image_path(folder: Path, cell: str) -> Path:
    """The file that a cell names; tables from Windows have backslashes between folders."""
    path = folder / cell
    if "\\" in cell and not path.is_file():
        return folder / cell.replace("\\", "/")
    return path
