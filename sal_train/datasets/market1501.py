"""Market-1501 with attributes (Zheng et al., ICCV 2015; Lin et al., 2017), in the protocol of SAL.

Attributes are labelled per identity, in 30 bits, four of them for the age. The 12,936 training images form 508
categories. The gallery has 16,483 images (test images without junk and distractors, plus the query images) in 484
categories; each category is one query, 315 of them do not occur in training. The paper gives 529 and 367 categories; no
published version of the labels does (docs/data.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime.arrays import BoolArray, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema, Group, binary, exclusive
from sal_train.datasets.splits import SearchDataset, Split, expect, seen_categories, split_from_rows

LABEL_FILE = Path("attribute", "market_attribute.mat")
REMEDY = "use the published Market-1501 v15.09.15 and the second or later version of market_attribute.mat"
DISTRACTOR = "0000"
JUNK = "-1"
AGES = ("young", "teenager", "adult", "old")
BINARY_FIELDS = ("backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender")
UPPER_COLOURS = ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")
LOWER_COLOURS = ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")
FIELDS = (
    *BINARY_FIELDS,
    *(f"up{colour}" for colour in UPPER_COLOURS),
    *(f"down{colour}" for colour in LOWER_COLOURS),
)
COLOUR_ALIASES = {"gray": ("grey",), "none": ("other", "multicoloured")}


def gender(bit: int) -> Group:
    """The group of a data set that labels the sex by one bit, which is 1 for female."""
    return binary(
        "gender",
        bit,
        absent="male",
        present="female",
        sensitive=True,
        aliases=("sex",),
        absent_aliases=("man",),
        present_aliases=("woman",),
    )


SCHEMA = AttributeSchema(
    "market1501",
    (
        exclusive(
            "age",
            {name: bit for bit, name in enumerate(AGES)},
            allow_none=False,
            sensitive=True,
            state_aliases={"young": ("child",), "teenager": ("teen",), "old": ("elderly", "senior")},
        ),
        binary("backpack", 4, present_aliases=("rucksack",)),
        binary("bag", 5, present_aliases=("shoulder-bag",)),
        binary("handbag", 6),
        binary(
            "lower-type", 7, absent="dress", present="pants", absent_aliases=("skirt",), present_aliases=("trousers",)
        ),
        binary(
            "lower-length",
            8,
            absent="long-lower",
            present="short-lower",
            absent_aliases=("long",),
            present_aliases=("short", "shorts"),
        ),
        binary(
            "sleeve",
            9,
            absent="long-sleeve",
            present="short-sleeve",
            aliases=("sleeves",),
            absent_aliases=("long", "long-sleeves"),
            present_aliases=("short", "short-sleeves"),
        ),
        binary(
            "hair", 10, absent="short-hair", present="long-hair", absent_aliases=("short",), present_aliases=("long",)
        ),
        binary("hat", 11, present_aliases=("cap",)),
        gender(12),
        exclusive(
            "upper-colour",
            {colour: 13 + index for index, colour in enumerate(UPPER_COLOURS)},
            allow_none=True,
            aliases=("upper", "top", "upper-color"),
            state_aliases=COLOUR_ALIASES,
        ),
        exclusive(
            "lower-colour",
            {colour: 21 + index for index, colour in enumerate(LOWER_COLOURS)},
            allow_none=True,
            aliases=("lower", "bottom", "lower-color"),
            state_aliases=COLOUR_ALIASES,
        ),
    ),
)


def load_market1501(root: Path) -> SearchDataset:
    """Load and check Market-1501.

    Args:
        root: folder that holds `Market-1501/`, or that folder itself.

    Raises:
        InputError: a file is missing, or counts differ from the published data.
    """
    folder = root / "Market-1501" if (root / "Market-1501").is_dir() else root
    labels, notes = _read_labels(folder / LABEL_FILE)
    train = _load_split(folder, ("bounding_box_train",), labels["train"], notes)
    test = _load_split(folder, ("bounding_box_test", "query"), labels["test"], notes)
    seen = seen_categories(train, test)
    _check_protocol(train, test, seen)
    return SearchDataset(
        name="market1501",
        schema=SCHEMA,
        train=train,
        test=test,
        seen=seen,
        prior=np.stack(list(labels["train"].values())).mean(axis=0),
        one_draw_groups=("age", "upper-colour", "lower-colour"),
        notes=tuple(notes),
        attribution="Market-1501 (Zheng et al., ICCV 2015), Market-1501 Attribute (Lin et al., 2017)",
        licence="research only, not to be redistributed",
    )


def _check_protocol(train: Split, test: Split, seen: BoolArray) -> None:
    expect("Market-1501 training images", len(train.image_paths), 12_936, REMEDY)
    expect("Market-1501 gallery images (test + query)", len(test.image_paths), 16_483, REMEDY)
    expect("Market-1501 training categories", train.num_categories, 508, REMEDY)
    expect("Market-1501 test categories", test.num_categories, 484, REMEDY)
    expect("Market-1501 unseen test categories", int((~seen).sum()), 315, REMEDY)


def _read_labels(path: Path) -> tuple[dict[str, dict[str, UInt8Array]], list[str]]:
    """Attribute vectors by identity, for both splits, and notes; the order of the fields differs between the splits."""
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(
            f"{path}: not found; expected Market-1501/attribute/market_attribute.mat in the data folder",
            parameter="data",
        )
    try:
        tables = loadmat(path, squeeze_me=True, struct_as_record=False)["market_attribute"]
    except (ValueError, KeyError, NotImplementedError) as error:
        raise InputError(
            f"{path}: not the attribute file ({error}); perhaps a download page was saved under its name"
        ) from error
    notes: list[str] = []
    labels = {}
    for split, identities in (("train", 751), ("test", 750)):
        table = vars(getattr(tables, split))
        labels[split] = _vectors_by_identity(table, split, identities, path, notes)
    hats = float(np.mean([row[SCHEMA.bit_names.index("hat")] for row in labels["train"].values()]))
    if hats > 0.5:
        raise InputError(
            f"{path}: {hats:.0%} of the training people wear a hat; this is the first version of the file, "
            "in which hat and colour labels are inverted; use a later version"
        )
    return labels, notes


def _vectors_by_identity(
    table: Mapping[str, Any], split: str, identities: int, path: Path, notes: list[str]
) -> dict[str, UInt8Array]:
    missing = [field for field in ("age", *FIELDS) if field not in table]
    if missing:
        raise InputError(f"{path}: split {split} has no field {missing[0]!r}; {REMEDY}")
    if "image_index" not in table:
        raise InputError(f"{path}: split {split} has no image_index, so its rows have no identity; {REMEDY}")
    age = np.asarray(table["age"], dtype=np.int64)
    rest = np.stack([np.asarray(table[field], dtype=np.int64) for field in FIELDS], axis=1)
    if not (np.isin(age, (1, 2, 3, 4)).all() and np.isin(rest, (1, 2)).all()):
        raise InputError(f"{path}: split {split} holds values outside 1..4 (age) or 1..2 (the rest); {REMEDY}")
    vectors = np.concatenate([np.eye(len(AGES), dtype=np.int64)[age - 1], rest - 1], axis=1).astype(np.uint8)
    expect(f"{path}: identities of split {split}", len(vectors), identities, REMEDY)
    for group, name in ((10, "upper"), (11, "lower")):
        none = int((vectors[:, list(SCHEMA.groups[group].bits)].sum(axis=1) == 0).sum())
        notes.append(f"{none} of {identities} {split} identities have no {name} colour")
    return {str(identity): row for identity, row in zip(table["image_index"], vectors, strict=True)}


def _load_split(folder: Path, subfolders: tuple[str, ...], labels: Mapping[str, UInt8Array], notes: list[str]) -> Split:
    """Images of the folders, sorted by name, without junk (-1) and distractors (0000), which a note counts."""
    paths: list[Path] = []
    identities: list[str] = []
    left_out = 0
    for name in subfolders:
        if not (folder / name).is_dir():
            raise InputError(
                f"{folder / name}: not found; expected the folder Market-1501 in the data folder", parameter="data"
            )
        for path in sorted((folder / name).glob("*.jpg")):
            identity = path.name.split("_")[0]
            if identity in (JUNK, DISTRACTOR):
                left_out += 1
            elif identity not in labels:
                raise InputError(f"{path}: identity {identity} has no attributes in {LABEL_FILE.name}; {REMEDY}")
            else:
                paths.append(path)
                identities.append(identity)
    if left_out:
        notes.append(
            f"{left_out} junk and distractor images of {' and '.join(subfolders)} left out, as the protocol does"
        )
    if not paths:
        raise InputError(f"{folder}: no .jpg in {' or '.join(subfolders)}; {REMEDY}")
    return split_from_rows(paths, np.stack([labels[identity] for identity in identities]), identities)
