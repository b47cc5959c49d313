"""The measurement of marks: ordered as the service orders, counted as by hand, chosen as promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import feedback as module
from benchmarks.feedback import Asked, Tally, chosen, follow, in_logits, match_scores, rocchio
from sal_runtime.arrays import BoolArray, Float32Array, Float64Array
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.matching.scoring import query_information, query_vector
from sal_runtime.query.language import parse_query
from sal_service.galleries.answers import Question, answer
from sal_service.galleries.feedback import EVIDENCE, RIGHT, WRONG
from sal_service.galleries.remembered import RememberingSearch
from tests.runtime.calibrated_bundle import make_calibrated_bundle

DESCRIPTION = "hat,upper=red"
COUNT = 40


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(make_calibrated_bundle(tmp_path / "tiny.bundle"))


def unit_vectors(count: int, dim: int) -> Float32Array:
    vectors = np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def asked_of(bundle: Bundle, relevant: BoolArray) -> Asked:
    query = parse_query(DESCRIPTION, bundle.schema)
    vector = query_vector(query, bundle.statistics, AttributeEncoder(bundle).encode)
    vectors = unit_vectors(len(relevant), bundle.embedding_dim)
    return Asked(query, vector, vectors, relevant, np.ones(len(relevant)))


def test_hits_and_likelihoods_are_those_of_the_service(bundle: Bundle, tmp_path: Path) -> None:
    relevant = np.random.default_rng(1).random(COUNT) < 0.4
    asked = asked_of(bundle, relevant)
    marked = np.arange(COUNT) < 10
    scores = rocchio(bundle, (RIGHT, WRONG, EVIDENCE))(asked, marked & relevant, marked & ~relevant)
    names = np.array([f"{row:02}.jpg" for row in range(COUNT)])
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery:
        gallery.add([GalleryItem(name) for name in names], asked.embeddings)
        right, wrong = (tuple(names[marked & chosen].tolist()) for chosen in (relevant, ~relevant))
        question = Question(DESCRIPTION, right=right, wrong=wrong, by_track=False, limit=COUNT)
        hits = answer(RememberingSearch(bundle, gallery), gallery, question).result.hits
    order = np.argsort(-scores, kind="stable")
    assert [hit.uri for hit in hits] == names[order].tolist()
    information = query_information(asked.query, bundle.statistics)
    expected = module.calibration_of(bundle).likelihood(scores[order], 2, information)
    np.testing.assert_allclose([hit.likelihood for hit in hits], expected, atol=1e-5)


def test_a_round_marks_the_first_five_and_is_counted_by_hand(bundle: Bundle) -> None:
    relevant = np.zeros(COUNT, np.bool_)
    own = match_scores(bundle, asked := asked_of(bundle, relevant), asked_of(bundle, relevant).vector)
    order = np.argsort(-own, kind="stable")
    relevant[order[[0, 6, 9]]] = True  # one is marked; ranks 2 and 5 are left
    marks: list[tuple[list[int], list[int]]] = []

    def perfect(asked: Asked, right: BoolArray, wrong: BoolArray) -> Float32Array:
        marks.append((np.flatnonzero(right).tolist(), np.flatnonzero(wrong).tolist()))
        return asked.relevant.astype(np.float32)

    tallies = [Tally(), Tally()]
    for _ in range(2):  # two queries, so that there are standard errors
        follow(bundle, asked, perfect, tallies)
    assert marks[0] == ([order[0]], sorted(order[1:5].tolist()))
    without, once = (tally.to_json() for tally in tallies)
    assert without["mAP"] == pytest.approx((1 / 1 + 2 / 7 + 3 / 10) / 3)
    assert without["residual_gain"] == 0
    assert once["mAP"] == once["residual_mAP"] == once["residual_rank1"] == 1
    assert once["residual_mAP_before"] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert once["residual_rank1_before"] == 0
    assert once["queries"] == once["residual_queries"] == 2


def test_a_query_whose_matches_are_all_marked_has_no_residual(bundle: Bundle) -> None:
    relevant = np.zeros(COUNT, np.bool_)
    asked = asked_of(bundle, relevant)
    relevant[np.argmax(match_scores(bundle, asked, asked.vector))] = True
    tally = Tally()
    follow(bundle, asked, rocchio(bundle, (1.0, 0.0, 0.0)), [Tally(), tally])
    assert list(tally.rows) == ["mAP"]


@pytest.mark.parametrize("name", ["mean", "nearest"])
def test_a_rule_in_logits_adds_cosines_to_the_logit_of_the_likelihood(bundle: Bundle, name: str) -> None:
    relevant = np.arange(COUNT) < 2
    wrong = np.arange(COUNT) == 2
    asked = asked_of(bundle, relevant)
    information = query_information(asked.query, bundle.statistics)

    def logit(scores: Float32Array) -> Float64Array:
        said = module.calibration_of(bundle).likelihood(scores, 2, information).astype(np.float64)
        return np.asarray(np.log(said / (1 - said)))

    scores = in_logits(bundle, (2.0, 3.0), getattr(module, name))(asked, relevant, wrong)
    moved = logit(scores) - logit(match_scores(bundle, asked, asked.vector))
    first, second, other = (asked.embeddings @ asked.embeddings[row] for row in range(3))
    near = np.maximum(first, second) if name == "nearest" else (first + second) / 2
    np.testing.assert_allclose(moved, 2 * near - 3 * other, atol=1e-3)


def test_the_smallest_weights_that_are_good_enough_are_chosen() -> None:
    def row(rule: str, right: float, evidence: float, gain: float, grows: float) -> dict[str, object]:
        return {"rule": rule, "right": right, "wrong": 0.5, "evidence": evidence, "gain": gain, "error_grows": grows}

    rows = [
        row("nearest", 0.1, 0.0, 0.9, 0.0),
        row("rocchio", 0.2, 0.0, 0.8, 0.021),
        row("rocchio", 3.0, 0.0, 0.7, 0.01),
        row("rocchio", 1.0, 2.0, 0.696, 0.0),
        row("rocchio", 1.0, 1.0, 0.697, 0.0),
        row("rocchio", 0.5, 0.0, 0.694, 0.0),
    ]
    assert chosen(rows) == rows[4]
    with pytest.raises(InputError, match="every rule makes the calibration error larger"):
        chosen(rows[:2])
