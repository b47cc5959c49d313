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
from sal_train.datasets.columns import label_vectors, schema_of
from sal_train.datasets.splits import SearchDataset, Split, seen_categories, split_from_rows
from sal_train.datasets.table_file import Table, read_table, table_file

SPLITS = ("train", "test")
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


def _test_rows(table: Table, vectors: UInt8Array, notes: list[str]) -> BoolArray:
    """Whether each row belongs to the test split, bool [N]."""
    given = [row.get("split", "").lower() for _, row in table.rows]
    if any(given):
        wrong = [line for (line, _), split in zip(table.rows, given, strict=True) if split not in SPLITS]
        if wrong:
            raise InputError(f"{table.path}, line {wrong[0]}: `split` must be train or test ({len(wrong)} such lines)")
        return np.array([split == "test" for split in given])
    identities = [row.get("identity", "") for _, row in table.rows]
    by_identity = any(identities)
    keys: Sequence[object] = [vector.tobytes() for vector in vectors]
    if by_identity:  # a row without an identity is a person of its own; its key is a number, so no identity equals it
        keys = [identity or row for row, identity in enumerate(identities)]
        if not all(identities):
            count = identities.count("")
            notes.append(f"{count} {'row has' if count == 1 else 'rows have'} no identity; each is a person of its own")
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
