"""PA-100K (Liu et al., ICCV 2017): 100,000 crops of 598 outdoor scenes, each labelled with 26 attributes.

The published parts for training and validation are the training split: sal holds categories out of it by itself, and
holds them out whole, which a part of random images does not. The published test part is the gallery, and each of its
categories is one query. People are not named, so one person may be on many images, and queries are not of a person.

Copies of the data set differ in where the pictures lie and in the names of fields. What is odd but understood becomes a
note; the published numbers of images are no condition, because parts of the data set are in use, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sal_runtime.arrays import AnyArray, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema, Group, binary, exclusive
from sal_train.datasets.market1501 import gender
from sal_train.datasets.splits import SearchDataset, Split, seen_categories, split_from_rows

ATTRIBUTES = (
    *("Female", "AgeOver60", "Age18-60", "AgeLess18", "Front", "Side", "Back", "Hat", "Glasses", "HandBag"),
    *("ShoulderBag", "Backpack", "HoldObjectsInFront", "ShortSleeve", "LongSleeve", "UpperStride", "UpperLogo"),
    *("UpperPlaid", "UpperSplice", "LowerStripe", "LowerPattern", "LongCoat", "Trousers", "Shorts", "Skirt&Dress"),
    "boots",
)
"""The published names in the order of the labels; by stride they mean stripes, by splice parts of several colours."""
BIT = {name: bit for bit, name in enumerate(ATTRIBUTES)}
FOLDERS = ("PA-100K", "PA100K", "PA-100k", "pa100k")
LABEL_FILES = ("annotation.mat", "annotation/annotation.mat")
PICTURE_FOLDERS = (
    *("data", "release_data", "images", "."),
    *("release_data/release_data", "data/release_data", "data/release_data/release_data"),
)
PARTS = {"train": 80_000, "val": 10_000, "test": 10_000}
"""The published number of images of each part."""
MISSPELT = {"test_images_name": "text_images_name"}
REMEDY = "use the published annotation.mat of PA-100K"


def _present(word: str, attribute: str, *aliases: str) -> Group:
    return binary(word, BIT[attribute], present_aliases=aliases)


SCHEMA = AttributeSchema(
    "pa100k",
    (
        gender(BIT["Female"]),
        exclusive(
            "age",
            {"under-18": BIT["AgeLess18"], "18-60": BIT["Age18-60"], "over-60": BIT["AgeOver60"]},
            allow_none=False,
            sensitive=True,
            state_aliases={
                "under-18": ("child", "young"),
                "18-60": ("adult",),
                "over-60": ("old", "elderly", "senior"),
            },
        ),
        exclusive(
            "view",
            {"front-view": BIT["Front"], "side-view": BIT["Side"], "back-view": BIT["Back"]},
            allow_none=False,
            aliases=("orientation",),
            state_aliases={  # not `back` alone: a bag may be on it
                "front-view": ("from-the-front",),
                "side-view": ("from-the-side",),
                "back-view": ("from-behind", "from-the-back"),
            },
        ),
        exclusive(
            "sleeve",
            {"long-sleeve": BIT["LongSleeve"], "short-sleeve": BIT["ShortSleeve"]},
            allow_none=True,
            aliases=("sleeves",),
            state_aliases={"long-sleeve": ("long", "long-sleeves"), "short-sleeve": ("short", "short-sleeves")},
        ),
        exclusive(
            "lower-type",
            {"trousers": BIT["Trousers"], "shorts": BIT["Shorts"], "skirt": BIT["Skirt&Dress"]},
            allow_none=True,
            state_aliases={"trousers": ("pants",), "skirt": ("dress",)},
        ),
        _present("hat", "Hat", "cap"),
        _present("glasses", "Glasses", "spectacles"),
        _present("handbag", "HandBag"),
        _present("shoulder-bag", "ShoulderBag", "bag", "messenger-bag"),
        _present("backpack", "Backpack", "rucksack"),
        _present("holding-in-front", "HoldObjectsInFront", "object-in-front"),
        _present("long-coat", "LongCoat", "coat"),
        _present("logo", "UpperLogo"),
        _present("plaid-upper", "UpperPlaid", "plaid"),
        _present("stripes-upper", "UpperStride", "stripes", "striped"),
        _present("splice-upper", "UpperSplice", "splice"),
        _present("stripes-lower", "LowerStripe"),
        _present("pattern-lower", "LowerPattern"),
        _present("boots", "boots"),
    ),
)


def load_pa100k(root: Path) -> SearchDataset:
    """Load PA-100K.

    Args:
        root: folder that holds `PA-100K/`, or that folder itself; docs/data.md lists the layouts.

    Raises:
        InputError: a file is missing, or is not that of the published data.
    """
    folder = next((root / name for name in FOLDERS if (root / name).is_dir()), root)
    path = next((folder / name for name in LABEL_FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            f"{folder}: has no {' or '.join(LABEL_FILES)}; expected PA-100K/annotation.mat in the data folder",
            parameter="data",
        )
    notes: list[str] = []
    fields = _read_fields(path)
    _check_attributes(path, fields, notes)
    parts = {part: _labels(path, fields, part, notes) for part in PARTS}
    files = _picture_files(folder, [name for names, _ in parts.values() for name in names])
    train, test = (_split([parts[part] for part in together], files) for together in (("train", "val"), ("test",)))
    return SearchDataset(
        name="pa100k",
        schema=SCHEMA,
        train=train,
        test=test,
        seen=seen_categories(train, test),
        prior=train.attributes.mean(axis=0),
        one_draw_groups=("age", "view"),
        notes=tuple(notes),
        attribution="PA-100K (Liu et al., ICCV 2017)",
        licence="CC BY 4.0 by its authors' repository; check the terms before use",
    )


def _split(parts: Sequence[tuple[Sequence[str], UInt8Array]], files: Mapping[str, Path]) -> Split:
    paths = [files[name] for names, _ in parts for name in names]
    return split_from_rows(paths, np.concatenate([vectors for _, vectors in parts]), [""] * len(paths))


def _read_fields(path: Path) -> Mapping[str, AnyArray]:
    from scipy.io import loadmat

    try:
        fields: Mapping[str, AnyArray] = loadmat(path)
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"{path}: not the attribute file ({error}); perhaps a download page was saved under its name"
        ) from error
    return fields


def _field(path: Path, fields: Mapping[str, AnyArray], name: str, notes: list[str]) -> AnyArray:
    if name in fields:
        return fields[name]
    if MISSPELT.get(name) in fields:
        notes.append(f"{path.name} calls the field {name} {MISSPELT[name]}")
        return fields[MISSPELT[name]]
    found = ", ".join(sorted(field for field in fields if not field.startswith("__"))) or "nothing"
    raise InputError(f"{path}: has no field {name!r}; it holds {found}; {REMEDY}")


def _texts(cells: AnyArray) -> list[str]:
    """The texts of a MATLAB cell array; "" for an empty cell."""
    parts = [np.asarray(cell).ravel() for cell in np.asarray(cells).ravel()]
    return [str(part[0]).strip() if part.size else "" for part in parts]


def _check_attributes(path: Path, fields: Mapping[str, AnyArray], notes: list[str]) -> None:
    """The names of the attributes must be those of `ATTRIBUTES`, in the same order; a blank one is taken as right."""
    names = _texts(_field(path, fields, "attributes", notes))
    if len(names) != len(ATTRIBUTES):
        raise InputError(f"{path}: {len(names)} names of attributes, expected {len(ATTRIBUTES)}; {REMEDY}")
    for name, expected in zip(names, ATTRIBUTES, strict=True):
        if not name:
            notes.append(f"{path.name} leaves the name of an attribute blank; by its place it is {expected}")
        elif _letters(name) != _letters(expected):
            raise InputError(f"{path}: the attribute {name!r} is where {expected!r} should be; {REMEDY}")


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _labels(
    path: Path, fields: Mapping[str, AnyArray], part: str, notes: list[str]
) -> tuple[Sequence[str], UInt8Array]:
    """Names of the pictures of a part, and their labels uint8 [N, 26]; rows without a name are left out."""
    names = _texts(_field(path, fields, f"{part}_images_name", notes))
    labels = np.asarray(_field(path, fields, f"{part}_label", notes))
    expected = (len(names), len(ATTRIBUTES))
    if labels.shape != expected:
        raise InputError(
            f"{path}: {part}_label is {labels.shape}, expected {expected}, one row for each of {part}_images_name and "
            f"one column for each attribute; {REMEDY}"
        )
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"{path}: {part}_label holds values other than 0 and 1; {REMEDY}")
    named = [row for row, name in enumerate(names) if name]
    if not named:
        raise InputError(f"{path}: {part}_images_name names no picture; {REMEDY}")
    if len(named) < len(names):
        notes.append(f"{len(names) - len(named)} of {len(names)} cells of {part}_images_name are empty; left out")
    if len(names) != PARTS[part]:
        notes.append(f"{len(names)} images in part {part}; published were {PARTS[part]}")
    return [names[row] for row in named], labels[named].astype(np.uint8)


def _picture_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The file of each picture, in that of the known folders which holds most of them.

    Raises:
        InputError: some are missing.
    """
    wanted = set(names)
    found: dict[str, set[str]] = {}
    for place in PICTURE_FOLDERS:
        if (folder / place).is_dir():
            found[place] = wanted & {entry.name for entry in os.scandir(folder / place)}
    place = max(found, key=lambda place: len(found[place]))
    if not found[place]:
        listed = ", ".join(place for place in PICTURE_FOLDERS if place != ".")
        raise InputError(f"{folder}: none of the {len(wanted)} pictures is in it, or in {listed}; see docs/data.md")
    missing = sorted(wanted - found[place])
    if missing:
        raise InputError(
            f"{folder / place}: {len(missing)} of {len(wanted)} pictures are missing, the first is {missing[0]}"
        )
    return {name: folder / place / name for name in wanted}
