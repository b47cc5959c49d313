"""Market-1501, trained together with people of PETA whose labels are translated into Market's words.

Market-1501 has 751 people in training, which a network soon memorises. PETA has thousands, in other places and seasons.
PETA's people are only trained on; the gallery, the held-out categories and all counts are Market-1501's alone. PETA's
test images, and every image of the people on them, are left out, so a model can be tested on both data sets.

A fixed seed chooses two images of each person, because PETA's are often neighbouring frames of a video.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_train.datasets.market1501 import LOWER_COLOURS, SCHEMA, UPPER_COLOURS, load_market1501
from sal_train.datasets.peta import PetaImages, load_peta_images, split_categories
from sal_train.datasets.peta_schema import BIT, COLOURS
from sal_train.datasets.splits import SearchDataset, split_from_rows

IMAGES_PER_PERSON = 2
SEED = 0
MARKET_COLOURS = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}


def load_market1501_with_peta(root: Path) -> SearchDataset:
    """Load both; the training split is Market's, followed by PETA's people as auxiliary images.

    Args:
        root: folder that holds `Market-1501/` and `PETA/`.

    Raises:
        InputError: a file is missing, or counts differ from the published data.
    """
    market, peta = load_market1501(root), load_peta_images(root)
    rows = people_to_train_on(peta)
    paths = [path for row in rows if (path := peta.paths[row]) is not None]
    train = split_from_rows(
        [*market.train.image_paths, *paths],
        np.concatenate([market.train.attributes, market_vectors(peta.vectors[rows])]),
        [*market.train.identities, *(f"peta-{peta.persons[row]}" for row in rows)],
    )
    people = len({peta.persons[row] for row in rows})
    return dataclasses.replace(
        market,
        name="market1501+peta",
        train=dataclasses.replace(train, num_auxiliary=len(rows)),
        notes=(*market.notes, f"trained together with {len(rows)} images of {people} people of PETA"),
        attribution=f"{market.attribution}; PETA (Deng et al., ACM MM 2014)",
        licence="research only, no commercial use, not to be redistributed",
    )


def people_to_train_on(peta: PetaImages) -> Int64Array:
    """Row numbers of PETA, ascending: at most two images per person, and nobody who is on a test image.

    Raises:
        InputError: none of the images is present.
    """
    _, test = split_categories(peta.vectors)
    tested = {peta.persons[row] for row in test}
    taken: Counter[str] = Counter()
    rows = []
    for row in np.random.default_rng(SEED).permutation(len(peta.vectors)):
        person = peta.persons[row]
        if person not in tested and peta.paths[row] is not None and taken[person] < IMAGES_PER_PERSON:
            taken[person] += 1
            rows.append(row)
    if not rows:
        raise InputError("PETA: none of its images is present; see docs/data.md for the layouts", parameter="data")
    return np.sort(np.array(rows, dtype=np.int64))


def market_vectors(vectors: UInt8Array) -> UInt8Array:
    """Translate attribute vectors of PETA, uint8 `[N, 105]`, into Market's, uint8 `[N, 30]`.

    Several colours at once, and colours without a word in Market, become `none`, as in Market's own labels. Ages
    under 15 become young, up to 30 teenager (four in five of Market's people), up to 60 adult. PETA's messenger bag is
    Market's bag; PETA does not label handbags, so they become absent.
    """

    def is_any(*names: str) -> BoolArray:
        return np.asarray(vectors[:, [BIT[name] for name in names]].any(axis=1))

    old = is_any("personalLarger60")
    adult = is_any("personalLess45", "personalLess60") & ~old
    young = is_any("personalLess15") & ~old & ~adult
    states = {
        "age": np.select([young, adult, old], [0, 2, 3], default=1),
        "backpack": is_any("carryingBackpack"),
        "bag": is_any("carryingMessengerBag"),
        "handbag": np.zeros(len(vectors), dtype=np.bool_),
        "lower-type": ~is_any("lowerBodyShortSkirt", "lowerBodyLongSkirt"),
        "lower-length": is_any("lowerBodyShorts", "lowerBodyShortSkirt", "lowerBodyHotPants", "lowerBodyCapri"),
        "sleeve": is_any("upperBodyShortSleeve", "upperBodyNoSleeve") & ~is_any("upperBodyLongSleeve"),
        "hair": is_any("hairLong"),
        "hat": is_any("accessoryHat"),
        "gender": is_any("personalFemale"),
        "upper-colour": _colour_states("upper", vectors),
        "lower-colour": _colour_states("lower", vectors),
    }
    return SCHEMA.vectors_from_states(
        np.stack([states[group.name] for group in SCHEMA.groups], axis=1).astype(np.int64)
    )


def _colour_states(part: str, vectors: UInt8Array) -> Int64Array:
    """States of Market's colour group, int64 `[N]`: PETA's colour if it is the only one and Market knows it."""
    colours = MARKET_COLOURS[part]
    labelled = vectors[:, [BIT[f"{part}Body{colour}"] for colour in COLOURS]]
    words = [{"Grey": "gray"}.get(colour, colour.lower()) for colour in COLOURS]
    none = len(colours)
    states = np.array([colours.index(word) if word in colours else none for word in words])
    return np.where(labelled.sum(axis=1) == 1, states[labelled.argmax(axis=1)], none)
