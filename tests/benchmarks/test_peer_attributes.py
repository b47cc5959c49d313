"""The comparison with a published attribute network: its measures, its mapping of words, and what it measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peer_attributes import OUTPUTS, PEER_SPEC, WORDS, asked, fitting, found, quality, words_of
from sal_cli.bench.drawn import write_people
from sal_runtime.arrays import AnyArray, UInt8Array
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import InputError
from sal_runtime.query.language import parse_query
from sal_runtime.query.schema import AttributeSchema
from sal_train.datasets import market1501, peta_schema, street_schema
from sal_train.datasets.splits import SearchDataset, seen_categories, split_from_rows
from sal_train.evaluation.subject import bundle_subject


def test_the_area_under_the_curve_is_a_count_of_pairs() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 12, 60).astype(np.float32)  # with many equal ones
    relevant = generator.random(60) < 0.3
    above = [float(a > b) + 0.5 * float(a == b) for a in scores[relevant] for b in scores[~relevant]]
    assert found(scores, relevant)["auc"] == pytest.approx(np.mean(above), abs=1e-12)


def test_average_precision_is_the_mean_precision_at_the_hits() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5], dtype=np.float32)
    measured = found(scores, np.array([True, False, True, False, True]))
    assert measured["ap"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)


def test_words_of_market_are_its_published_fields() -> None:
    """By the numbers of the bits, which the loader reads from fields of these names."""
    vectors = np.random.default_rng(0).integers(0, 2, (200, 30), dtype=np.uint8)
    bag, handbag, pants, short, short_sleeve, long_hair, female = (
        vectors[:, bit] == 1 for bit in (5, 6, 7, 8, 9, 10, 12)
    )
    expected = {
        "is_male": (~female, female),
        "has_bag": (bag | handbag,),
        "has_backpack": (vectors[:, 4] == 1,),
        "has_hat": (vectors[:, 11] == 1,),
        "has_longsleeves": (~short_sleeve, short_sleeve),
        "has_longpants": (pants & ~short, ~(pants & ~short)),
        "has_longhair": (long_hair, ~long_hair),
    }
    check_fitting(market1501.SCHEMA, vectors, expected)


def test_words_of_peta_are_its_published_attributes() -> None:
    vectors = np.random.default_rng(0).integers(0, 2, (200, 105), dtype=np.uint8)

    def has(*names: str) -> np.ndarray:
        return np.asarray(vectors[:, [peta_schema.ATTRIBUTES.index(name) for name in names]].any(axis=1))

    lower = ("Shorts", "Capri", "HotPants", "ShortSkirt", "LongSkirt")
    expected = {
        "is_male": (has("personalMale"), has("personalFemale")),
        "has_bag": (has("carryingMessengerBag", "carryingPlasticBags"),),
        "has_backpack": (has("carryingBackpack"),),
        "has_hat": (has("accessoryHat"),),
        "has_longsleeves": (has("upperBodyLongSleeve"), has("upperBodyShortSleeve", "upperBodyNoSleeve")),
        "has_longpants": (
            has("lowerBodyTrousers", "lowerBodyJeans", "lowerBodySuits"),
            has(*(f"lowerBody{kind}" for kind in lower)),
        ),
        "has_longhair": (has("hairLong"), has("hairShort", "hairBald")),
        "has_coat_jacket": (has("upperBodyJacket"),),
    }
    check_fitting(peta_schema.SCHEMA, vectors, expected)


def check_fitting(schema: AttributeSchema, vectors: UInt8Array, expected: dict[str, tuple[np.ndarray, ...]]) -> None:
    assert list(expected) == list(words_of(schema))
    assert set(expected) <= set(OUTPUTS)
    for output, queries in words_of(schema).items():
        for text, wanted in zip(queries, expected[output], strict=True):
            np.testing.assert_array_equal(fitting(parse_query(text, schema), schema, vectors), wanted, output)


def test_a_schema_without_words_is_named() -> None:
    with pytest.raises(InputError, match="schema 'mine' has no entry in WORDS"):
        words_of(AttributeSchema("mine", market1501.SCHEMA.groups))


@pytest.mark.parametrize("of_data", [market1501.SCHEMA, peta_schema.SCHEMA], ids=["market1501", "peta"])
def test_a_bundle_of_the_street_is_asked_in_the_words_of_the_data_set(of_data: AttributeSchema) -> None:
    queries = asked(street_schema.SCHEMA, of_data)
    assert {output: len(texts) for output, texts in queries.items()} == {
        output: len(texts) for output, texts in words_of(of_data).items()
    }
    assert asked(market1501.SCHEMA, of_data)["has_bag"][0].text == "bag|handbag"


class KnowingPeer:
    """A network that knows the labels of the images by their order."""

    device = "cpu"

    def __init__(self, answers: AnyArray) -> None:
        self.answers, self.given = answers, 0

    def run(self, batch: AnyArray) -> AnyArray:
        assert batch.shape[1:] == (PEER_SPEC.height, PEER_SPEC.width, 3)
        self.given += len(batch)
        return np.asarray(self.answers[(np.arange(self.given - len(batch), self.given)) % len(self.answers)])


def test_what_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    bundle = open_bundle(Path("bundles/edge"))
    paths = [Path(path) for path in write_people(folder, 12, bundle.image_spec)]
    schema = market1501.SCHEMA
    states = np.random.default_rng(0).integers(0, [len(group.states) for group in schema.groups], (12, 12))
    split = split_from_rows(paths, schema.vectors_from_states(states.astype(np.int64)), [*"aabbccddee", "", ""])
    nothing = np.zeros(schema.num_bits)
    dataset = SearchDataset(
        "drawn", schema, split, split, seen_categories(split, split), nothing, (), (), "drawn", "none"
    )
    answers = np.zeros((12, len(OUTPUTS)), dtype=np.float32)
    for number, output in enumerate(OUTPUTS[:-1]):
        answers[:, number] = fitting(parse_query(WORDS["market1501"][output][0], schema), schema, split.attributes)
    report = quality(KnowingPeer(answers), {"edge": bundle_subject(bundle, "cpu")}, dataset, tmp_path)
    assert report["images"] == 12
    assert report["num_common_words"] == len(report["words"]) == 11
    assert report["means"]["peer"] == {"auc": 1.0, "ap": 1.0}
    assert report["means"]["edge head"]["auc"] < 1
    assert report["peer_auc"] == {"test": 1.0, "train": 1.0}
    by_query = {row["query"]: row for row in report["words"]}
    assert by_query["female"]["output"] == "not is_male"
    assert by_query["female"]["positives"] + by_query["male"]["positives"] == 12
    heads = [by_query[word]["rankings"]["edge head"]["auc"] for word in ("male", "female")]
    assert heads[0] == pytest.approx(heads[1])
