"""Evaluation on a small world where the right answers are known: an encoder that sees labels through noise."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from sal_runtime.bundle.calibration import Calibration
from sal_runtime.images.spec import ImageSpec
from sal_runtime.query.language import parse_query
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_train.config import DataConfig
from sal_train.datasets.attribute_tree import fit_statistics
from sal_train.datasets.splits import Labels, split_from_rows
from sal_train.evaluation import calibrate, evaluate, full_queries
from sal_train.evaluation.attribute_calibration import calibrate_attributes
from sal_train.evaluation.held_out import partition
from sal_train.evaluation.operating_points import OperatingPoints
from sal_train.evaluation.partial_queries import AnsweredQuery, PartialQuery, answer, judged, make_partial_queries
from sal_train.evaluation.protocol import Protocol
from sal_train.evaluation.reliability import Reliability
from sal_train.evaluation.report import print_report
from sal_train.evaluation.subject import LabelledEmbeddings, Subject

SCHEMA = AttributeSchema(
    "small",
    (
        binary("gender", 0, absent="male", present="female"),
        binary("hat", 1),
        binary("bag", 2),
        exclusive("upper", {"red": 3, "blue": 4, "green": 5}, allow_none=True),
        exclusive("age", {"young": 6, "old": 7}, allow_none=False),
    ),
)
PROJECTION = np.random.default_rng(0).standard_normal((SCHEMA.num_bits, 16))


def embed(values: np.ndarray) -> np.ndarray:
    points = (values - 0.3) @ PROJECTION
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def people(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    states = np.stack([generator.integers(len(group.states), size=count) for group in SCHEMA.groups], axis=1)
    return SCHEMA.vectors_from_states(states)


def see(attributes: np.ndarray, noise: float, seed: int) -> LabelledEmbeddings:
    """The labels through Gaussian noise; the logits are those of the exact posterior of an even prior."""
    noisy = attributes + np.random.default_rng(seed).normal(scale=noise, size=attributes.shape)
    logits = (noisy - 0.5) / noise**2
    return LabelledEmbeddings(embed(noisy), logits.astype(np.float32), Labels(attributes))


@pytest.fixture
def subject() -> Subject:
    return Subject(
        identity={"kind": "bundle", "path": "small.sal", "fingerprint": "0" * 64},
        schema=SCHEMA,
        statistics=fit_statistics(SCHEMA, people(2000, 1)),
        image_spec=ImageSpec(8, 4),
        encode_attributes=embed,
        encode_images=lambda images: (embed(np.zeros((len(images), 8))), np.zeros((len(images), 8), np.float32)),
    )


def protocol(attributes: np.ndarray) -> Protocol:
    queries, categories = np.unique(attributes, axis=0, return_inverse=True)
    paths = tuple(Path(f"{index}.jpg") for index in range(len(attributes)))
    return Protocol(
        "small test", paths, Labels(attributes), categories, Labels(queries), np.arange(len(queries)) % 2 == 0
    )


def test_full_queries_against_loops(subject: Subject) -> None:
    images = see(people(60, 2), 0.5, 3)
    asked = protocol(images.labels.attributes)
    report = full_queries.full_queries(subject, images, asked, seed=0)
    precisions = {"cosine": [], "likelihood": []}
    for category, query in enumerate(asked.queries.attributes):
        probability = 1 / (1 + np.exp(-images.logits.astype(np.float64)))
        likelihood = np.array(
            [sum(math.log(p if bit else 1 - p) for p, bit in zip(row, query, strict=True)) for row in probability]
        )
        for name, scores in (("cosine", images.embeddings @ embed(query[None])[0]), ("likelihood", likelihood)):
            ranking = np.argsort(-scores, kind="stable")
            ranks = [rank for rank, image in enumerate(ranking, 1) if asked.categories[image] == category]
            precisions[name].append(np.mean([(hit + 1) / rank for hit, rank in enumerate(ranks)]))
    assert report["mAP"] == pytest.approx(np.mean(precisions["cosine"]), abs=1e-6)
    assert report["attribute_likelihood"]["mAP"] == pytest.approx(np.mean(precisions["likelihood"]), abs=1e-6)
    assert report["seen"]["mAP"] == pytest.approx(np.mean(precisions["cosine"][::2]), abs=1e-6)
    assert report["num_queries"] == len(asked.seen)
    assert report["num_gallery"] == 60


def test_query_chunks_change_nothing(subject: Subject) -> None:
    images = see(people(60, 2), 0.5, 3)
    asked = protocol(images.labels.attributes)
    assert len(asked.seen) > 7
    whole = full_queries.full_queries(subject, images, asked, seed=0)
    assert full_queries.full_queries(subject, images, asked, seed=0, chunk=7) == whole


def test_ranking_in_the_order_of_search(subject: Subject) -> None:
    images = see(people(60, 2), 0.5, 3)
    asked = protocol(images.labels.attributes)
    ones = np.ones(SCHEMA.num_bits, dtype=np.float32)

    def ranked(cosine_weight: float) -> float:
        calibration = Calibration(ones, 0 * ones, cosine_weight, 1.0, 0.0, 0.0, 0.0, 0.0)
        return float(full_queries.rank_by_match(subject, images, asked, calibration, seed=0)["mAP"])

    odds = np.column_stack([np.exp(images.logits.astype(np.float64)), np.ones(60)])  # a state without a bit has odds 1
    by_head = []
    for category, vector in enumerate(asked.queries.attributes):
        scores = np.ones(60)
        for group in SCHEMA.groups:
            bits = [-1 if state.bit is None else state.bit for state in group.states]
            (asked_bit,) = [bit for bit in bits if bit >= 0 and vector[bit]] or [-1]
            scores *= odds[:, asked_bit] / odds[:, bits].sum(axis=1)
        by_head.append(average_precision(scores, asked.categories == category))
    cosine = full_queries.full_queries(subject, images, asked, seed=0)["mAP"]
    assert ranked(0.0) == pytest.approx(np.mean(by_head), abs=1e-6)
    assert ranked(1e6) == pytest.approx(cosine, abs=1e-6)


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    ranks = [rank for rank, image in enumerate(np.argsort(-scores, kind="stable"), 1) if relevant[image]]
    return float(np.mean([(hit + 1) / rank for hit, rank in enumerate(ranks)]))


def test_rankings_at_test_time_against_loops(subject: Subject) -> None:
    attributes = people(60, 2)
    images, mirrored = see(attributes, 0.5, 3), see(attributes, 0.5, 4)
    asked = protocol(attributes)
    report = full_queries.rankings_at_test_time(subject, images, mirrored, asked, seed=0)
    drawn, _ = subject.statistics.sample_completions([{}], full_queries.NUM_DESCRIPTIONS, seed=0)
    descriptions = embed(drawn)
    expected: dict[str, list[float]] = {"mirrored": [], "csls": [], "fused": [], "mirrored_csls": []}
    for category, query in enumerate(asked.queries.attributes):
        scores: dict[str, list[float]] = {name: [] for name in expected}
        likelihoods = []
        direction = embed(query[None])[0]
        for one, other, logits in zip(images.embeddings, mirrored.embeddings, images.logits, strict=True):
            both = (one + other) / np.linalg.norm(one + other)
            scores["mirrored"].append(direction @ both)
            scores["csls"].append(direction @ one - 0.5 * np.sort(descriptions @ one)[-10:].mean())
            scores["mirrored_csls"].append(direction @ both - 0.5 * np.sort(descriptions @ both)[-10:].mean())
            probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
            likelihoods.append(np.log(np.where(query, probability, 1 - probability)).sum())
        cosine, likelihood = images.embeddings @ direction, np.array(likelihoods)
        scores["fused"] = list(
            (cosine - cosine.mean()) / cosine.std() + 0.2 * (likelihood - likelihood.mean()) / likelihood.std()
        )
        for name, values in scores.items():
            expected[name].append(average_precision(np.array(values), asked.categories == category))
    for name, precisions in expected.items():
        assert report[name]["mAP"] == pytest.approx(np.mean(precisions), abs=1e-4), name
    text = io.StringIO()
    whole = full_queries.full_queries(subject, images, asked, seed=0) | {"test_time": report, "record": record(asked)}
    print_report(whole, Console(file=text, width=80))
    assert max(len(line) for line in text.getvalue().splitlines()) <= 80
    assert f"{100 * report['mirrored_csls']['mAP']:.1f}" in text.getvalue()


def test_partial_queries_are_nested_distinct_and_true_of_their_category() -> None:
    vectors = np.unique(people(40, 4), axis=0)
    by_count = {given: make_partial_queries(SCHEMA, Labels(vectors), given, seed=9) for given in (1, 3, None)}
    assert make_partial_queries(SCHEMA, Labels(vectors), 3, seed=9) == by_count[3]
    assert make_partial_queries(SCHEMA, Labels(vectors), 3, seed=10) != by_count[3]
    for given, queries in by_count.items():
        assert len({query.query.text for query in queries}) == len(queries)
        assert all(len(query.given) == (given or len(SCHEMA.groups)) for query in queries)
    assert len(by_count[None]) == len(vectors)
    for vector in vectors[:, None]:
        one = Labels(vector)
        (short,), (longer,), (full,) = (make_partial_queries(SCHEMA, one, given, seed=9) for given in (1, 3, None))
        assert short.given.items() < longer.given.items() < full.given.items()
        assert judged(SCHEMA, full, one)[0].all()


def test_contradictory_groups_are_not_asked() -> None:
    vector = people(1, 5)
    vector[0, 3:5] = 1  # red and blue
    (query,) = make_partial_queries(SCHEMA, Labels(vector), None, seed=0)
    assert set(query.given) == {0, 1, 2, 4}
    assert make_partial_queries(SCHEMA, Labels(vector), 5, seed=0) == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [({3: 0}, [True, True, False]), ({3: 3}, [False, False, True]), ({3: 0, 0: 1}, [False, True, False])],
)
def test_satisfied(given: Mapping[int, int], expected: list[bool]) -> None:
    """Red; red and blue at once, female; no colour."""
    vectors = np.array([[0, 0, 0, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1]], dtype=np.uint8)
    partial = PartialQuery({group: frozenset((state,)) for group, state in given.items()}, parse_query("hat", SCHEMA))
    holds, decided = judged(SCHEMA, partial, Labels(vectors))
    assert holds.tolist() == expected
    assert decided.all()


def test_images_whose_labels_do_not_decide_are_left_out() -> None:
    """Young; old; young or old; red and perhaps young; nothing known; young, but of another data set."""
    vectors = np.zeros((6, 8), dtype=np.uint8)
    known = np.ones((6, 8), dtype=np.bool_)
    vectors[[0, 5], 6] = vectors[1, 7] = vectors[3, 3] = 1
    known[2:5, 6:] = known[4] = False
    labels = Labels(vectors, known, np.array([0, 0, 0, 0, 0, 1]))
    young, not_red = frozenset((0,)), frozenset((1, 2, 3))
    query = parse_query("hat", SCHEMA)
    for given, holds, decided in (
        ({4: young}, [True, False, False, False, False, True], [True, True, False, False, False, False]),
        ({3: not_red}, [True, True, True, False, False, True], [True, True, True, True, False, False]),
        ({4: young, 3: not_red}, [True, False, False, False, False, True], [True, True, False, True, False, False]),
    ):
        got = judged(SCHEMA, PartialQuery(given, query, source=0), labels)
        assert [column.tolist() for column in got] == [holds, decided]


def test_report_of_partial_queries(subject: Subject) -> None:
    images = see(people(300, 6), 0.4, 7)
    asked = protocol(images.labels.attributes)
    calibration = calibrate.fit_calibration(subject, see(people(300, 8), 0.4, 9), Labels(people(2000, 1)), seed=0)
    options = evaluate.Options(cache_dir=Path("unused"))
    partial = evaluate.partial_queries(subject, images, asked, options, Console(file=io.StringIO()), calibration)
    full = full_queries.full_queries(subject, images, asked, seed=0)
    rows = partial["by_number_given"]
    assert [row["given"] for row in rows] == [1, 2, 3, 5, "all"]  # five groups: ten cannot be given
    for row in rows:
        assert row["rules"].keys() == {"match", "marginalised", "zeros", "attribute_likelihood"}
        assert row["rules"]["marginalised"]["mAP"] > row["share_relevant"]
    everything = rows[-1]["rules"]
    assert everything["marginalised"]["mAP"] == pytest.approx(full["mAP"])
    assert everything["zeros"]["mAP"] == pytest.approx(full["mAP"])
    assert rows[0]["rules"]["marginalised"]["mAP"] > rows[0]["rules"]["zeros"]["mAP"]
    assert partial["calibration"]["all_pairs"]["expected_calibration_error"] < 0.05
    points = partial["operating_points"]
    for looser, stricter in itertools.pairwise(points):
        assert looser["recall"] >= stricter["recall"]
        assert looser["precision"] < stricter["precision"]  # this encoder is calibrated well
    json.dumps(partial, allow_nan=False)
    whole = full | {"partial": partial, "record": record(asked)}
    text = io.StringIO()
    print_report(whole, Console(file=text, width=80))
    assert max(len(line) for line in text.getvalue().splitlines()) <= 80
    assert f"{100 * full['mAP']:.1f}" in text.getvalue()
    assert "caveat" not in text.getvalue()


def test_the_likelihood_is_measured_for_each_data_set_and_for_both(subject: Subject) -> None:
    attributes, sources = people(300, 6), np.arange(300) % 3 == 0
    images = see(attributes, 0.4, 7)
    labels = Labels(attributes, np.ones(attributes.shape, dtype=np.bool_), sources.astype(np.int64))
    asked, categories = labels.distinct()
    paths = tuple(Path(f"{index}.jpg") for index in range(300))
    seen = np.ones(len(asked.attributes), dtype=np.bool_)
    both = Protocol("both test", paths, labels, categories, asked, seen, source_names=("first", "second"))
    calibration = calibrate.fit_calibration(subject, see(people(300, 8), 0.4, 9), Labels(people(2000, 1)), seed=0)
    console, options = Console(file=io.StringIO()), evaluate.Options(cache_dir=Path("unused"))
    images = replace(images, labels=labels)
    partial = evaluate.partial_queries(subject, images, both, options, console, calibration)
    pairs = {name: part["all_pairs"] for name, part in partial["calibration_by_source"].items()}
    together = partial["calibration"]["all_pairs"]
    assert list(pairs) == ["first", "second"]
    counted = {name: sum(one["pairs"] for one in part["bins"]) for name, part in pairs.items()}
    assert sum(counted.values()) == sum(one["pairs"] for one in together["bins"])
    assert counted["first"] > counted["second"] > 0
    share = sum(counted[name] * part["share_matching"] for name, part in pairs.items()) / sum(counted.values())
    assert share == pytest.approx(together["share_matching"])
    assert "calibration_by_source" not in evaluate.partial_queries(
        subject, see(attributes, 0.4, 7), protocol(attributes), options, console, calibration
    )


def record(asked: Protocol) -> dict[str, object]:
    data = {"name": asked.name, "num_images": len(asked.image_paths), "num_queries": len(asked.seen), "num_seen": 1}
    return {"subject": {"kind": "bundle", "path": "small.sal", "fingerprint": "0" * 64}, "data": data, "device": "cpu"}


def test_logistic_regression_finds_what_made_the_data() -> None:
    generator = np.random.default_rng(12)
    features = generator.normal(loc=[0.3, -2, 3, 4], scale=[2.0, 1.5, 2, 2], size=(40000, 4))
    weights, bias = np.array([1.0, 0.8, -0.3, 0.5]), 1.0
    matches = generator.random(40000) < 1 / (1 + np.exp(-(features @ weights + bias)))
    fitted = calibrate.fit_logistic(features, matches, np.ones(40000))
    np.testing.assert_allclose(fitted, [*weights, bias], rtol=0.1)


def test_separable_data_stay_finite() -> None:
    features = np.zeros((100, 4))
    features[50:, 0] = 1.0
    fitted = calibrate.fit_logistic(features, features[:, 0] > 0, np.ones(100))
    assert np.isfinite(fitted).all()
    assert fitted[-1] < -3  # below 0.05
    assert fitted[0] + fitted[-1] > 3


def test_likelihood_never_falls_with_the_match_score() -> None:
    """Even where the data say so: a search that sinks as it fits better would make no sense to anyone."""
    generator = np.random.default_rng(13)
    features = generator.normal(size=(5000, 4))
    matches = generator.random(5000) < 1 / (1 + np.exp(2 * features[:, 0] + 2 * features[:, 1]))
    fitted = calibrate.fit_logistic(features, matches, np.ones(5000))
    assert fitted[0] > 0
    assert fitted[1] >= 0


def test_a_head_that_says_yes_to_everybody_is_no_evidence() -> None:
    """What it says of hats is noise around yes, one person in twenty has one: the evidence becomes one in twenty."""
    generator = np.random.default_rng(3)
    attributes = people(4000, 40)
    attributes[:, 1] = generator.random(4000) < 0.05
    images = see(attributes, 0.4, 41)
    images.logits[:, 1] = 3 + generator.normal(size=4000)
    scale, shift = calibrate_attributes(SCHEMA, images, Labels(attributes))
    probability = 1 / (1 + np.exp(-(scale[1] * images.logits[:, 1] + shift[1])))
    np.testing.assert_allclose(probability, 0.05, atol=0.02)
    assert scale[0] == pytest.approx(1, abs=0.2)  # the others are exact posteriors
    assert shift[0] == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("frequent", [0, 1, 2, 3])
def test_calibrated_probabilities_agree_with_the_frequencies_of_the_population(frequent: int) -> None:
    """A head trained where colours were even, for a population where one colour is frequent."""
    generator = np.random.default_rng(50 + frequent)
    population = people(6000, 51)
    colours = np.where(generator.random(6000) < 0.7, frequent, generator.integers(4, size=6000))
    population[:, 3:6] = colours[:, None] == np.arange(3)
    even = people(3000, 52)
    scale, shift = calibrate_attributes(SCHEMA, see(even, 0.7, 53), Labels(population))
    calibrated = see(population, 0.7, 54).logits * scale + shift
    odds = np.exp(np.column_stack([calibrated[:, 3:6], np.zeros(6000)]))
    mean = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(mean, np.bincount(colours, minlength=4) / 6000, atol=0.05)


def test_calibration_of_an_attribute_that_nobody_has_is_finite() -> None:
    attributes = people(50, 60)
    attributes[:, 1] = 0
    attributes[:, 3:6] = [1, 0, 0]
    for images in (see(attributes, 0.4, 61), see(attributes[:1], 0.4, 61)):
        scale, shift = calibrate_attributes(SCHEMA, images, Labels(attributes))
        assert np.isfinite([scale, shift]).all()
        assert (scale >= 0).all()


@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_calibration_of_few_people_can_be_used(subject: Subject, count: int) -> None:
    images = see(people(count, 70), 0.4, 71)
    fitted = calibrate.fit_calibration(subject, images, Labels(people(200, 1)), seed=0)
    Calibration.from_json(json.loads(json.dumps(fitted, allow_nan=False)), SCHEMA.num_bits)


def test_expected_calibration_error_by_hand() -> None:
    reliability = Reliability()
    reliability.add(np.array([0.9, 0.95, 1.0]), np.array([True, False, True]))  # 1 bin: 0.93..1
    reliability.add(np.array([0.1]), np.array([False]))
    # Bins of 1/15: 0.9 falls in [13/15, 14/15), 0.95 and 1.0 in the last, 0.1 in the second.
    expected = (abs(0.9 - 1) + abs(1.95 - 1) + abs(0.1 - 0)) / 4
    assert reliability.expected_calibration_error() == pytest.approx(expected)
    assert reliability.to_json()["share_matching"] == 0.5


def test_operating_points_by_hand() -> None:
    points = OperatingPoints()
    points.add(np.array([0.95, 0.75, 0.3, 0.05]), np.array([True, False, True, True]))
    points.add(np.array([0.0, 0.2]), np.array([False, False]))
    by_threshold = {point["min_likelihood"]: point for point in points.to_json()}
    assert by_threshold[0.1] == {
        "min_likelihood": 0.1,
        "shown_per_query": 2.0,
        "precision": 2 / 4,
        "recall": 2 / 3,
        "false_positive_rate": 2 / 3,
    }
    assert by_threshold[0.75]["precision"] == 1 / 2  # 0.75 itself is shown
    assert by_threshold[0.9]["recall"] == 1 / 3
    nothing = OperatingPoints()
    nothing.add(np.zeros(3), np.zeros(3, dtype=bool))
    assert nothing.to_json()[0]["precision"] is None
    assert nothing.to_json()[0]["recall"] is None


def test_calibration_takes_what_the_run_held_out_whatever_its_own_seed() -> None:
    attributes = people(200, 30)
    split = split_from_rows([Path("unused")] * 200, attributes, [""] * 200)
    data = DataConfig(validation_fraction=0.3, validation_seed=1)
    held_out = set(partition(split, 0.3, 1).validation.tolist())
    for seed in (1, 2):
        rows, source = calibrate.calibration_rows(split, data, seed)
        assert set(rows.tolist()) == held_out
        assert source == calibrate.HELD_OUT


def test_calibration_asks_as_many_queries_of_a_small_data_set(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MAX_QUERIES", 4)
    images = see(people(200, 8), 0.4, 9)
    sources = np.repeat([0, 1], (180, 20))
    labels = Labels(images.labels.attributes, None, sources)
    asked: list[tuple[int, int | None]] = []

    def answered(one: Subject, seen: LabelledEmbeddings, query: PartialQuery) -> AnsweredQuery:
        asked.append((len(query.given), query.source))
        return answer(one, seen, query)

    monkeypatch.setattr(calibrate, "answer", answered)
    seen = LabelledEmbeddings(images.embeddings, images.logits, labels)
    population = Labels(people(2000, 1), None, np.repeat([0, 1], 1000))
    calibrate.fit_calibration(subject, seen, population, seed=0)
    counts = Counter(asked)
    assert {counts[given, source] for given in (1, 2, 3) for source in (0, 1)} == {4}


def test_calibration_fit_is_deterministic_json_and_ready_for_the_manifest(subject: Subject) -> None:
    images = see(people(120, 8), 0.4, 9)
    fitted = calibrate.fit_calibration(subject, images, Labels(people(2000, 1)), seed=0)
    assert fitted == calibrate.fit_calibration(subject, images, Labels(people(2000, 1)), seed=0)
    Calibration.from_json(json.loads(json.dumps(fitted, allow_nan=False)), SCHEMA.num_bits)
    assert 0 <= fitted["cross_validated"]["expected_calibration_error"] < 0.1


def test_a_gallery_of_few_categories_does_not_make_the_likelihood_too_confident(subject: Subject) -> None:
    """Fitted on a dozen categories, each far more frequent there, and measured on people as they come."""
    everybody = people(3000, 20)
    few = np.repeat(np.unique(everybody, axis=0)[::24], 25, axis=0)
    images, others = see(few, 0.6, 21), see(everybody, 0.6, 22)
    errors = {}
    for name, population in (("weighed", everybody), ("as they lie", few)):
        fitted = Calibration.from_json(
            calibrate.fit_calibration(subject, images, Labels(population), seed=0), SCHEMA.num_bits
        )
        everything, top = Reliability(), Reliability()
        for query in make_partial_queries(SCHEMA, Labels(np.unique(few, axis=0)), 5, 0):
            answered = calibrate.answer(subject, others, query, fitted)
            calibrate.count_pairs(fitted, answered, everything, top)
        errors[name] = top.expected_calibration_error()
    assert errors["weighed"] < 0.75 * errors["as they lie"]


def test_label_shift_by_hand() -> None:
    relevant = np.array([True, False, False, False])
    answered = calibrate.AnsweredQuery(None, {"match": np.arange(4.0)}, relevant, 0.0)
    # one in four here, one in ten in the population
    np.testing.assert_allclose(calibrate.Observed(answered, 1, 0.1).label_shift(), [0.4, 1.2, 1.2, 1.2])
