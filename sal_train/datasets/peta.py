"""PETA (Deng et al., ACM MM 2014) in the protocol of SAL.

Each image has 105 bits; images with identical bits form a category. The 5,679 categories of one image are dropped. Of
the other 2,090, in order of first appearance, NumPy's legacy generator with seed 1 draws 1,890 for training (11,886
images). The remaining 200 (1,435 images) are the gallery; each category is one query, and none occurs in training.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sal_runtime.arrays import AnyArray, BoolArray, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_train.datasets.peta_schema import ATTRIBUTES, ONE_DRAW_GROUPS, SCHEMA
from sal_train.datasets.splits import (
    SearchDataset,
    Split,
    expect,
    seen_categories,
    split_from_rows,
    states_from_vectors,
)

REMEDY = "use the PETA.mat with 19,000 rows and 105 attributes, and all 19,000 images"
NUM_IMAGES = 19_000
FIRST_ATTRIBUTE_COLUMN = 4
PERSON_COLUMN = 3
SPLIT_SEED = 1
TRAIN_CATEGORIES = 1_890
TEST_IDS_SHA256 = "b841e716ce26886bea5f99e84882e9609b70a1031adae6cb06f77be58ccf2e49"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


@dataclass(frozen=True)
class PetaImages:
    """All 19,000 images, in the order of PETA.mat.

    Attributes:
        vectors: attributes of the images, uint8 [19000, 105].
        persons: person of each image.
        paths: file of each image, None if it is missing.
        notes: findings of the loader, one line each.
    """

    vectors: UInt8Array
    persons: list[str]
    paths: list[Path | None]
    notes: list[str]


def load_peta_images(root: Path) -> PetaImages:
    """Read the table of PETA and find its images.

    Args:
        root: as for `load_peta`.

    Raises:
        InputError: a file is missing, or counts differ from the published data.
    """
    folder = _folder(root)
    table, notes = _read_table(folder / "PETA.mat")
    persons = [f"{subset}-{person}" for subset, person in table[:, [2, PERSON_COLUMN]]]
    return PetaImages(table[:, FIRST_ATTRIBUTE_COLUMN:].astype(np.uint8), persons, _image_paths(folder), notes)


def load_peta(root: Path) -> SearchDataset:
    """Load and check PETA.

    Args:
        root: folder that holds `PETA/`, or that folder itself. The images are in `images/` under their numbers
            (00001.jpg, .png or .bmp), or, as published, in one folder per subset, with `index_to_file.csv` to name
            them. The 5,679 images that the protocol drops may be missing.

    Raises:
        InputError: a file is missing, or counts differ from the published data.
    """
    images = load_peta_images(root)
    train_rows, test_rows = split_categories(images.vectors)
    test_ids = "\n".join(f"{row + 1:05d}" for row in test_rows)
    expect("PETA test ids, sha256", hashlib.sha256(test_ids.encode()).hexdigest(), TEST_IDS_SHA256, REMEDY)
    train, test = (
        split_from_rows(
            _present(_folder(root), images.paths, rows), images.vectors[rows], [images.persons[row] for row in rows]
        )
        for rows in (train_rows, test_rows)
    )
    seen = seen_categories(train, test)
    _check_protocol(train, test, seen)
    return SearchDataset(
        name="peta",
        schema=SCHEMA,
        train=train,
        test=test,
        seen=seen,
        prior=train.attributes.mean(axis=0),
        one_draw_groups=ONE_DRAW_GROUPS,
        notes=(*images.notes, *_label_notes(train)),
        attribution="PETA (Deng et al., ACM MM 2014)",
        licence="research only, no commercial use, not to be redistributed",
    )


def _folder(root: Path) -> Path:
    return root / "PETA" if (root / "PETA").is_dir() else root


def split_categories(vectors: UInt8Array) -> tuple[Int64Array, Int64Array]:
    """Row numbers of the training and of the test images, int64 and ascending, for vectors uint8 [N, A]."""
    _, first, inverse, counts = np.unique(vectors, axis=0, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    kept = order[counts[order] > 1]  # categories of two images or more, by first appearance
    chosen = np.random.RandomState(SPLIT_SEED).choice(len(kept), TRAIN_CATEGORIES, replace=False)
    train = np.zeros(len(first), dtype=np.bool_)
    train[kept[chosen]] = True
    test = np.zeros(len(first), dtype=np.bool_)
    test[kept] = ~train[kept]
    inverse = inverse.reshape(-1)
    return np.flatnonzero(train[inverse]), np.flatnonzero(test[inverse])


def _check_protocol(train: Split, test: Split, seen: BoolArray) -> None:
    expect("PETA training categories", train.num_categories, TRAIN_CATEGORIES, REMEDY)
    expect("PETA test categories", test.num_categories, 200, REMEDY)
    expect("PETA training images", len(train.image_paths), 11_886, REMEDY)
    expect("PETA gallery images", len(test.image_paths), 1_435, REMEDY)
    expect("PETA test categories that occur in training", int(seen.sum()), 0, REMEDY)
    shared = set(train.identities) & set(test.identities)
    expect("PETA persons in both splits", len(shared), 0, REMEDY)


def _read_table(path: Path) -> tuple[AnyArray, list[str]]:
    """The table of 19,000 x 109, and notes; its attribute names must be those of the schema, in the same order."""
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path}: not found; expected PETA/PETA.mat in the data folder", parameter="data")
    try:
        peta = loadmat(path, squeeze_me=True, struct_as_record=False)["peta"]
    except (ValueError, KeyError, NotImplementedError) as error:
        raise InputError(
            f"{path}: not the attribute file ({error}); perhaps a download page was saved under its name"
        ) from error
    names = tuple(str(name) for name in peta.attribute)
    different = [(got, wanted) for got, wanted in zip(names, ATTRIBUTES, strict=False) if got != wanted]
    if different or len(names) != len(ATTRIBUTES):
        raise InputError(
            f"{path}: {len(names)} attributes, the first that differs is {different[:1]}, "
            f"expected the {len(ATTRIBUTES)} of the published file; {REMEDY}"
        )
    expect(f"{path}: shape", peta.data.shape, (NUM_IMAGES, FIRST_ATTRIBUTE_COLUMN + len(ATTRIBUTES)), REMEDY)
    if not np.isin(peta.data[:, FIRST_ATTRIBUTE_COLUMN:], (0, 1)).all():
        raise InputError(f"{path}: attributes other than 0 and 1; {REMEDY}")
    return peta.data, ["the five random partitions inside PETA.mat are for attribute recognition and are not used"]


def _image_paths(folder: Path) -> list[Path | None]:
    """The file of each row, None if it is missing."""
    numbered = folder / "images"
    if numbered.is_dir():
        found = {int(path.stem): path for path in numbered.iterdir() if path.suffix.lower() in SUFFIXES}
        return [found.get(number) for number in range(1, NUM_IMAGES + 1)]
    return _published_paths(folder)


def _present(folder: Path, places: list[Path | None], rows: Int64Array) -> list[Path]:
    """The files of the given rows.

    Raises:
        InputError: one of them is missing.
    """
    missing = [row + 1 for row in rows if places[row] is None]
    if missing:
        raise InputError(f"{folder}: {len(missing)} of {len(rows)} images are missing, the first is {missing[0]:05d}")
    return [path for row in rows if (path := places[row]) is not None]


def _published_paths(folder: Path) -> list[Path | None]:
    """The files `SUBSET/archive/FILE` or `SUBSET/FILE` that index_to_file.csv (columns index, subset, file) names."""
    index = folder / "index_to_file.csv"
    if not index.is_file():
        raise InputError(f"{folder}: has neither images/ nor index_to_file.csv; see docs/data.md for the layouts")
    paths: list[Path | None] = [None] * NUM_IMAGES
    with index.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            places = (folder / row["subset"] / "archive" / row["file"], folder / row["subset"] / row["file"])
            paths[int(row["index"]) - 1] = next((place for place in places if place.is_file()), None)
    return paths


def _label_notes(train: Split) -> list[str]:
    """Notes on labels that contradict the schema, and on attributes without an example."""
    states = states_from_vectors(SCHEMA, train.attributes)
    notes = [
        f"{count} training images fit no state of {group.name} (several set, or none)"
        for group, count in zip(SCHEMA.groups, (states < 0).sum(axis=0), strict=True)
        if count
    ]
    never = [ATTRIBUTES[bit] for bit in np.flatnonzero(~train.attributes.any(axis=0))]
    if never:
        notes.append(f"never positive in training: {', '.join(never)}")
    return notes
