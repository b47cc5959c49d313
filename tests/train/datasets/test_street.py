"""The vocabulary of the street: labels of Market-1501 and PETA in its words, by hand and by their own words again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.arrays import BoolArray, UInt8Array
from sal_train.config import DataConfig
from sal_train.datasets import market1501, peta_schema, street_schema
from sal_train.datasets.load import load_dataset
from sal_train.datasets.peta_schema import BIT
from sal_train.datasets.splits import SearchDataset, possible_states, split_from_rows, states_from_vectors
from sal_train.datasets.street import in_words_of
from sal_train.datasets.street_schema import SCHEMA, street_from_market, street_from_peta
from sal_train.evaluation.calibrate import calibration_rows
from sal_train.evaluation.held_out import partition

MARKET = market1501.SCHEMA


def said(attributes: UInt8Array, known: BoolArray) -> tuple[set[str], set[str]]:
    """Names of the bits of one vector that are known to be 1, and of those that are unknown."""
    named = list(zip(SCHEMA.bit_names, attributes.tolist(), known.tolist(), strict=True))
    assert not any(bit and not is_known for _, bit, is_known in named)
    return {name for name, bit, _ in named if bit}, {name for name, _, is_known in named if not is_known}


def of_market(*states: str) -> tuple[set[str], set[str]]:
    """What a person of Market-1501 is said to be; groups that are not named are in their first state."""
    chosen = np.zeros((1, len(MARKET.groups)), dtype=np.int64)
    for word in states:
        group, _, state = word.rpartition("=")
        ((number, index),) = [pair for pair in MARKET.words[state] if not group or MARKET.group_index[group] == pair[0]]
        chosen[0, number] = index
    attributes, known = street_from_market(MARKET.vectors_from_states(chosen))
    return said(attributes[0], known[0])


def of_peta(*names: str) -> tuple[set[str], set[str]]:
    """What a person of PETA with these attributes is said to be."""
    vector = np.zeros((1, len(BIT)), dtype=np.uint8)
    vector[0, [BIT[name] for name in names]] = 1
    attributes, known = street_from_peta(vector)
    return said(attributes[0], known[0])


def test_an_adult_of_market_in_long_trousers_with_a_bag() -> None:
    present, unknown = of_market(
        "adult", "bag=bag", "pants", "long-lower", "short-sleeve", "female", "hat=hat",
        "upper-colour=none", "lower-colour=gray",
    )  # fmt: skip
    assert present == {"messenger-bag", "female", "hat", "lower-colour=grey"}
    words = SCHEMA.words
    assert {"age=31-45", "age=46-60"} == {name for name in unknown if name.startswith("age")}
    assert {"upper-colour=brown", "upper-colour=orange", "upper-colour=pink"} == {
        name for name in unknown if name.startswith(("upper-colour", "lower-colour"))
    }
    assert {"sleeve=short-sleeve", "sleeve=no-sleeve"} == {name for name in unknown if name.startswith("sleeve")}
    assert {"hair=short-hair", "hair=bald"} == {name for name in unknown if name.startswith("hair=")}
    assert {"jeans", "trousers", "jacket", "sunglasses", "plastic-bag", "boots", "suit-lower"} <= unknown
    assert (
        not {"shorts", "capri", "hot-pants", "short-skirt", "long-skirt", "carrying-nothing", "no-accessory"} & unknown
    )
    assert {"jeans", "trousers", "dress", "backpack", "handbag", "child", "woman"} <= words.keys()


def test_a_teenager_of_market_in_a_short_dress() -> None:
    present, unknown = of_market("teenager", "dress", "short-lower", "long-hair", "long-sleeve", "upper-colour=red")
    assert present >= {"age=16-30", "dress", "short-lower", "hair=long-hair", "sleeve=long-sleeve", "upper-colour=red"}
    assert {"short-skirt", "hot-pants", "capri", "carrying-nothing", "no-accessory"} <= unknown
    assert not {"long-skirt", "shorts", "suit-lower", "sleeve=no-sleeve", "hair=bald", "upper-colour=pink"} & unknown


def test_a_person_of_peta_says_everything_but_the_handbag() -> None:
    present, unknown = of_peta(
        "personalLess45", "personalMale", "upperBodyRed", "upperBodyJacket", "upperBodyLongSleeve", "lowerBodyBlue",
        "lowerBodyJeans", "carryingMessengerBag", "hairShort", "hairBlack", "footwearPink",
    )  # fmt: skip
    assert present == {
        "age=31-45", "upper-colour=red", "jacket", "sleeve=long-sleeve", "lower-colour=blue", "jeans", "messenger-bag",
        "hair=short-hair", "hair-colour=black",
    }  # fmt: skip
    assert unknown == {"handbag"}


def test_whoever_carries_nothing_has_no_handbag_and_two_sexes_are_none() -> None:
    assert of_peta("personalFemale", "carryingNothing", "lowerBodyLongSkirt") == (
        {"female", "carrying-nothing", "long-skirt", "dress"},
        set(),
    )
    assert of_peta("personalFemale", "personalMale", "lowerBodyHotPants") == (
        {"hot-pants", "short-lower"},
        {"female", "handbag"},
    )


def drawn_market(count: int = 400) -> UInt8Array:
    rng = np.random.default_rng(0)
    states = np.stack([rng.integers(0, len(group.states), count) for group in MARKET.groups], axis=1)
    return MARKET.vectors_from_states(states)


def in_markets_words(attributes: UInt8Array, known: BoolArray) -> list[set[str]]:
    """States of Market-1501 that the words of the street allow, one set for each person, by what the words mean."""
    possible = possible_states(SCHEMA, attributes, known)

    def may_be(group: str, *names: str) -> BoolArray:
        number = SCHEMA.group_index[group]
        columns = [index for index, state in enumerate(SCHEMA.groups[number].states) if state.name in names]
        return np.asarray(possible[number][:, columns].any(axis=1))

    meanings = {
        ("age", "young"): ("under-15",),
        ("age", "teenager"): ("16-30",),
        ("age", "adult"): ("31-45", "46-60"),
        ("age", "old"): ("over-60",),
        ("sleeve", "short-sleeve"): ("short-sleeve", "no-sleeve", "none"),
        ("hair", "short-hair"): ("short-hair", "bald", "none"),
        ("bag", "bag"): ("messenger-bag",),
        ("bag", "no-bag"): ("no-messenger-bag",),
        ("upper-colour", "gray"): ("grey",),
        ("lower-colour", "gray"): ("grey",),
        ("upper-colour", "none"): ("brown", "orange", "pink", "none"),
        ("lower-colour", "none"): ("orange", "red", "none"),
    }
    people: list[set[str]] = [set() for _ in attributes]
    for group in MARKET.groups:
        for state in group.states:
            words = meanings.get((group.name, state.name), (state.name,))
            for row in np.flatnonzero(may_be({"bag": "messenger-bag"}.get(group.name, group.name), *words)):
                people[row].add(f"{group.name}={state.name}")
    return people


def own_words(vectors: UInt8Array) -> list[set[str]]:
    states = states_from_vectors(MARKET, vectors)
    return [
        {f"{group.name}={group.states[state].name}" for group, state in zip(MARKET.groups, row, strict=True)}
        for row in states
    ]


def test_labels_of_market_come_back_in_its_own_words() -> None:
    vectors = drawn_market()
    assert in_markets_words(*street_from_market(vectors)) == own_words(vectors)


def test_different_people_of_market_differ_in_something_that_is_known() -> None:
    vectors = np.unique(drawn_market(), axis=0)
    attributes, known = street_from_market(vectors)
    differ = (attributes[:, None] != attributes[None]) & known[:, None] & known[None]
    assert (differ.any(axis=2) | np.eye(len(vectors), dtype=bool)).all()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            "personalLess30 personalMale hairShort upperBodyRed upperBodyShortSleeve lowerBodyShorts lowerBodyBlack",
            "teenager male short-hair red short-sleeve black pants short-lower no-backpack no-bag no-handbag handbag"
            " no-hat",
        ),
        (
            "personalLarger60 personalFemale hairLong upperBodyOrange upperBodyLongSleeve lowerBodyLongSkirt"
            " lowerBodyGrey accessoryHat carryingNothing",
            "old female long-hair none long-sleeve gray dress long-lower no-backpack no-bag no-handbag hat",
        ),
        (
            "personalLess15 personalFemale hairBald upperBodyBlue upperBodyNoSleeve lowerBodyPink lowerBodyTrousers"
            " carryingBackpack carryingMessengerBag",
            "young female short-hair blue short-sleeve pink pants long-lower backpack bag no-handbag handbag no-hat",
        ),
        (
            "personalLess60 personalMale hairShort upperBodyWhite upperBodyLongSleeve lowerBodyOrange lowerBodyCapri",
            "adult male short-hair white long-sleeve none pants short-lower no-backpack no-bag no-handbag handbag"
            " no-hat",
        ),
    ],
)
def test_people_of_peta_in_the_words_of_market(attributes: str, expected: str) -> None:
    vector = np.zeros((1, len(BIT)), dtype=np.uint8)
    vector[0, [BIT[name] for name in attributes.split()]] = 1
    (words,) = in_markets_words(*street_from_peta(vector))
    assert sorted(word.partition("=")[2] for word in words) == sorted(expected.split())


def test_images_that_are_only_trained_on_change_nothing_that_is_held_out_or_counted() -> None:
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


def test_labels_of_peta_remain() -> None:
    vectors = np.random.default_rng(2).integers(0, 2, (300, len(BIT))).astype(np.uint8)
    attributes, known = street_from_peta(vectors)
    renamed = {
        "under-15": "personalLess15",
        "bald": "hairBald",
        "jacket": "upperBodyJacket",
        "scarf": "accessoryMuffler",
    }
    for word, name in renamed.items():
        ((group, state),) = SCHEMA.words[word]
        bit = SCHEMA.groups[group].states[state].bit
        assert (attributes[:, bit] == vectors[:, BIT[name]]).all()
    everything = known | (np.array(SCHEMA.bit_names) == "handbag") | (np.array(SCHEMA.bit_names) == "female")
    assert everything.all()


@pytest.mark.parametrize("word", ["baby-buggy", "handbag", "lower-colour=yellow", "carrying-nothing"])
def test_a_word_leaves_by_its_name(word: str) -> None:
    vectors = drawn_market(50)
    kept = [name != word for name in SCHEMA.bit_names]
    expected = [array[:, kept] for array in street_from_market(vectors)]
    schema = street_schema.schema_without(street_schema.LEFT_OUT | {word})
    assert list(schema.bit_names) == [name for name in SCHEMA.bit_names if name != word]
    for got, wanted in zip(street_from_market(vectors, schema), expected, strict=True):
        assert (got == wanted).all()
    assert street_from_peta(np.eye(len(BIT), dtype=np.uint8), schema)[0].shape[1] == schema.num_bits


def test_every_rule_speaks_of_words_that_there_are() -> None:
    groups = {group.name: {state.name for state in group.states} for group in street_schema._every_group()}
    for group in MARKET.groups:
        name, meanings = street_schema.MARKET_STATES.get(group.name, (group.name, {}))
        assert meanings.keys() <= {state.name for state in group.states}
        for state in group.states:
            assert set(meanings.get(state.name, (state.name,))) <= groups[name]
    own = {state.name for group in MARKET.groups for state in group.states}
    for conditions, excluded in street_schema.MARKET_EXCLUDES:
        assert set(conditions) <= own
        assert set(excluded) <= street_schema.ORIGINS.keys()


def test_a_model_of_fewer_words_is_measured_in_its_words() -> None:
    schema = street_schema.schema_without(street_schema.LEFT_OUT | {"handbag", "jacket"})
    vectors = drawn_market(20)
    split = split_from_rows([Path("unused")] * 20, vectors, [""] * 20)
    dataset = SearchDataset("market1501", MARKET, split, split, np.zeros(0, dtype=bool), np.zeros(30), (), (), "", "")
    in_its_words = in_words_of(dataset, schema)
    attributes, known = street_from_market(vectors, schema)
    assert in_its_words.schema == schema
    assert (in_its_words.test.attributes == attributes).all()
    assert (in_its_words.test.known == known).all()
    assert (in_its_words.test.categories == split.categories).all()
    assert in_words_of(dataset, MARKET) is dataset
    assert in_words_of(dataset, peta_schema.SCHEMA) is dataset


def test_the_sensitive_words_are_marked() -> None:
    assert {group.name for group in SCHEMA.groups if group.sensitive} == {"age", "gender"}
    assert all(group.sensitive for group in peta_schema.SCHEMA.groups if group.name == "kerchief")


@pytest.fixture(scope="module")
def root(market1501_root: Path, peta_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both data sets, wherever each of them is."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "Market-1501").symlink_to(market1501_root)
    (folder / "PETA").symlink_to(peta_root)
    return folder


def test_both_protocols_are_inside(root: Path) -> None:
    street, market, peta = (load_dataset(name, root) for name in ("street", "market1501", "peta"))
    train, test = street.train, street.test
    assert not {p for p in train.identities} & {p for p in test.identities}
    assert (len(train.image_paths), train.num_own, len(test.image_paths)) == (30_501, 24_822, 17_918)
    for number, own in enumerate((market, peta)):
        rows = test.rows_by_source()[number]
        assert [test.image_paths[row] for row in rows] == list(own.test.image_paths)
        pairs = set(zip(test.categories[rows].tolist(), own.test.categories.tolist(), strict=True))
        assert len(pairs) == own.test.num_categories  # one to one
        assert int(street.seen[np.unique(test.categories[rows])].sum()) == int(own.seen.sum())
        held_out = partition(train, 0.1, 1).validation
        here = held_out[train.sources[held_out] == number]  # type: ignore[index]
        alone = partition(own.train, 0.1, 1).validation
        assert {train.image_paths[row] for row in here} == {own.train.image_paths[row] for row in alone}
