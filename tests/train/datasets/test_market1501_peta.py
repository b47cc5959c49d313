"""Market-1501 with people of PETA beside it: labels in Market's words, and nothing of PETA held out or counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sal_train.config import DataConfig
from sal_train.datasets.load import load_dataset
from sal_train.datasets.market1501 import SCHEMA
from sal_train.datasets.market1501_peta import market_vectors
from sal_train.datasets.peta_schema import BIT
from sal_train.datasets.splits import split_from_rows, states_from_vectors
from sal_train.evaluation.calibrate import calibration_rows
from sal_train.evaluation.held_out import partition


def in_markets_words(*attributes: str) -> set[str]:
    """What Market's labels would say of a person whom PETA gives these attributes; absent ones are left out."""
    vector = np.zeros((1, len(BIT)), dtype=np.uint8)
    vector[0, [BIT[name] for name in attributes]] = 1
    (mapped,) = market_vectors(vector)
    assert set(np.unique(mapped)) <= {0, 1}
    return {name for name, bit in zip(SCHEMA.bit_names, mapped, strict=True) if bit}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            ["personalLess30", "personalMale", "upperBodyRed", "upperBodyShortSleeve", "lowerBodyShorts"],
            {"age=teenager", "pants", "short-lower", "short-sleeve", "upper-colour=red"},
        ),
        (
            ["personalLarger60", "personalFemale", "hairLong", "lowerBodyLongSkirt", "lowerBodyGrey", "accessoryHat"],
            {"age=old", "female", "long-hair", "lower-colour=gray", "hat"},
        ),
        (
            ["personalLess15", "carryingBackpack", "carryingMessengerBag", "upperBodyLongSleeve", "lowerBodyPink"],
            {"age=young", "backpack", "bag", "pants", "lower-colour=pink"},
        ),
        # two colours, a colour without a word in Market, two ages, long and no sleeves at once
        (
            ["personalLess60", "personalLess30", "upperBodyRed", "upperBodyWhite", "lowerBodyOrange"],
            {"age=adult", "pants"},
        ),
        (
            ["upperBodyPink", "upperBodyNoSleeve", "upperBodyLongSleeve", "lowerBodyCapri"],
            {"age=teenager", "pants", "short-lower"},
        ),
    ],
)
def test_labels_in_markets_words(attributes: list[str], expected: set[str]) -> None:
    assert in_markets_words(*attributes) == expected


def test_every_mapped_label_fits_the_schema() -> None:
    vectors = np.random.default_rng(0).integers(0, 2, (500, len(BIT))).astype(np.uint8)
    assert (states_from_vectors(SCHEMA, market_vectors(vectors)) >= 0).all()


def test_auxiliary_images_are_trained_on_and_nothing_else() -> None:
    """Ten categories of three images; auxiliary ones of five of these categories and of three new ones."""
    vectors = np.array([[number >> bit & 1 for bit in range(4)] for number in range(13)], dtype=np.uint8)
    own = np.repeat(np.arange(10), 3)
    auxiliary = np.array([0, 1, 2, 3, 4, 10, 11, 12])
    rows = vectors[np.concatenate([own, auxiliary])]
    alone = split_from_rows([Path("unused")] * 30, rows[:30], [""] * 30)
    both = dataclasses.replace(split_from_rows([Path("unused")] * 38, rows, [""] * 38), num_auxiliary=8)
    of_alone, of_both = partition(alone, 0.4, 7), partition(both, 0.4, 7)
    assert of_both.validation.tolist() == of_alone.validation.tolist()
    held_out = set(own[of_alone.validation])
    expected = [30 + position for position, category in enumerate(auxiliary) if category not in held_out]
    assert of_both.train.tolist() == [*of_alone.train.tolist(), *expected]
    assert of_both.train_categories.tolist() == [*of_alone.train_categories.tolist(), 10, 11, 12]
    rows, _ = calibration_rows(both, DataConfig(validation_fraction=0.0), seed=1)
    assert rows.tolist() == list(range(30))


def test_market_with_people_of_peta(market1501_root: Path, peta_root: Path, tmp_path: Path) -> None:
    for root in (market1501_root, peta_root):
        (tmp_path / root.name).symlink_to(root)
    data, market, peta = (load_dataset(name, tmp_path) for name in ("market1501+peta", "market1501", "peta"))
    train = data.train
    assert train.image_paths[: train.num_own] == market.train.image_paths
    assert np.array_equal(train.categories[: train.num_own], market.train.categories)
    assert data.test.image_paths == market.test.image_paths
    assert np.array_equal(data.prior, market.prior)
    people = train.identities[train.num_own :]
    assert train.num_auxiliary == len(people) == 9961
    assert len(set(people)) == 8395
    assert max(people.count(person) for person in people[::50]) <= 2
    assert not {f"peta-{person}" for person in peta.test.identities} & set(people)
    assert not set(peta.test.image_paths) & set(train.image_paths)
    # the words of a few people, looked up by their file in PETA's own labels
    labels = dict(zip(peta.train.image_paths, peta.train.attributes, strict=True))
    known = [row for row in range(train.num_own, len(train.image_paths)) if train.image_paths[row] in labels][::20]
    for row in known:
        original, mapped = labels[train.image_paths[row]], train.attributes[row]
        assert mapped[SCHEMA.bit_names.index("backpack")] == original[BIT["carryingBackpack"]]
        assert mapped[SCHEMA.bit_names.index("female")] == original[BIT["personalFemale"]]
    assert len(known) > 100
