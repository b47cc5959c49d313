"""Market-1501 and PETA together, in one vocabulary (`street_schema.py`).

Training has Market's training images, PETA's training images, and at the end, as auxiliary images, the images of PETA
that its protocol drops because their combination of attributes occurs once: they show 5,679 more people. No image of a
test person of either set is among them. The test split has both galleries; each is searched for its own categories.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from sal_train.datasets.market1501 import load_market1501
from sal_train.datasets.peta import load_peta, load_peta_images, split_categories
from sal_train.datasets.splits import SearchDataset, Split, expect, seen_categories, split_from_rows
from sal_train.datasets.street_schema import ONE_DRAW_GROUPS, SCHEMA, street_from_market, street_from_peta

TRANSLATIONS = {"market1501": street_from_market, "peta": street_from_peta}
SOURCES = tuple(TRANSLATIONS)
REMEDY = "use the published data"


def load_street(root: Path) -> SearchDataset:
    """Load both data sets.

    Args:
        root: folder that holds `Market-1501/` and `PETA/`.

    Raises:
        InputError: a file is missing, or counts differ from the published data.
    """
    market, peta, others = load_market1501(root), load_peta(root), _other_people(root)
    train = joined(market.train, peta.train, others)
    test = joined(market.test, peta.test)
    expect(
        "street: training categories of the protocols", int(train.categories[: train.num_own].max()) + 1, 2_398, REMEDY
    )
    expect("street: test categories", test.num_categories, 684, REMEDY)
    return SearchDataset(
        name="street",
        schema=SCHEMA,
        train=train,
        test=test,
        seen=seen_categories(train, test),
        prior=train.labels.rows(slice(train.num_own)).shares(),
        one_draw_groups=ONE_DRAW_GROUPS,
        notes=(
            *(f"{data.name}: {note}" for data in (market, peta) for note in data.notes),
            f"{len(others.image_paths):,} images of PETA that its protocol drops are trained on, too",
        ),
        attribution=f"{market.attribution}; {peta.attribution}",
        licence="research only, no commercial use, not to be redistributed",
    )


def _other_people(root: Path) -> Split:
    """The images of PETA that are in neither split of its protocol, of people who are in neither."""
    images = load_peta_images(root)
    train, test = split_categories(images.vectors)
    tested = {images.persons[row] for row in test}
    rows = np.setdiff1d(np.arange(len(images.vectors)), np.concatenate([train, test]))
    rows = np.array([row for row in rows if images.persons[row] not in tested], dtype=np.int64)
    paths = [path for row in rows if (path := images.paths[row]) is not None]
    expect("PETA: images that the protocol drops", len(paths), 5_679, "all 19,000 images are needed here")
    return split_from_rows(paths, images.vectors[rows], [images.persons[row] for row in rows])


def joined(market: Split, *peta: Split) -> Split:
    """Images of Market-1501, then of PETA, with labels in the words of the street.

    Args:
        market: with the labels of Market-1501.
        peta: with the labels of PETA; all but the first are auxiliary.
    """
    parts = [street_from_market(market.attributes), *(street_from_peta(split.attributes) for split in peta)]
    attributes, known = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    splits = (market, *peta)
    sizes = [len(split.image_paths) for split in splits]
    split = split_from_rows(
        [path for split in splits for path in split.image_paths],
        attributes,
        [*market.identities, *(f"peta-{person}" for split in peta for person in split.identities)],
        known,
        np.repeat(np.array([0] + [1] * len(peta), dtype=np.int64), sizes),
        SOURCES,
    )
    return dataclasses.replace(split, num_auxiliary=sum(sizes[2:]))


def in_street_words(dataset: SearchDataset) -> SearchDataset:
    """Market-1501 or PETA with labels in the words of the street, and its own categories; any other set as it is."""
    if dataset.name not in TRANSLATIONS:
        return dataset
    splits = []
    for split in (dataset.train, dataset.test):
        attributes, known = TRANSLATIONS[dataset.name](split.attributes)
        splits.append(dataclasses.replace(split, attributes=attributes, unknown=~known))
    return dataclasses.replace(dataset, schema=SCHEMA, train=splits[0], test=splits[1])
