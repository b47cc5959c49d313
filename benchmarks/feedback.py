"""How much marks improve a search: mAP after rounds of five marks, and whether the likelihood stays right.

    python -m benchmarks.feedback --bundle bundles/edge --data DATA

A description is asked, full or of three attributes, as `sal eval` makes them. In each round the first five hits without
a mark are marked as the labels say, and the search is refined as in the service (sal_service/galleries/feedback.py).
Two means over queries tell what it brings: mAP over all images, where marked images also move, and mAP over the images
without a mark (the residual collection), beside that of the description's own order on the same images. A query whose
images are all marked has no residual.

The rule is chosen on the training categories of Market-1501 that the bundle's training held out (`--held-out` does only
that), by the mean gain on the residual over both kinds of description and both rounds. Candidates keep the calibration
error of the first 20 images within `TOLERATED` of what it was. Those within `WORTHWHILE` of the largest gain are as
good, and the smallest weights among them leave most to the description. Rules that add the same to every description
are measured beside them. The test splits are read to report the shipped rule.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.speed.measurement import RESULTS
from sal_cli.bench.record import now, result_document
from sal_runtime.arrays import BoolArray, Float32Array, Float64Array
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import InputError
from sal_runtime.files import cache_folder, whole_file
from sal_runtime.matching.scoring import match_scoring, query_information, query_vector
from sal_runtime.query.language import Query
from sal_service.galleries.feedback import EVIDENCE, RIGHT, WRONG, cosine_share, refine
from sal_train.config import DataConfig
from sal_train.datasets.load import load_dataset
from sal_train.datasets.splits import Labels, SearchDataset
from sal_train.datasets.street import in_words_of
from sal_train.evaluation.held_out import partition
from sal_train.evaluation.metrics import rank_queries
from sal_train.evaluation.partial_queries import judged, make_partial_queries
from sal_train.evaluation.protocol import protocol_of_test_split
from sal_train.evaluation.reliability import Reliability
from sal_train.evaluation.subject import Subject, bundle_subject, encode_labelled

MARKS, ROUNDS = 5, 2
KINDS: Mapping[str, int | None] = {"full": None, "three": 3}
"""Kinds of descriptions, and the attributes given; None: all."""
FIRST_HITS = 20
TOLERATED = 0.02
"""So much larger than before the marks may the calibration error of the first hits be, 0..1."""
WORTHWHILE = 0.005
"""A gain that is larger by less is not worth larger weights."""
HELD_OUT = 0.1
"""Share of the training categories that the training of the bundle held out."""
HELD_OUT_SEEDS = 3
"""So often other attributes of the few held-out categories are given."""
RIGHTS, WRONG_SHARES, EVIDENCES = (0.75, 1.0, 1.5, 2.0, 3.0), (1 / 3, 0.5, 0.75), (0.0, 1.0, 2.0, 3.0)
"""Weights of right marks to choose from, those of wrong marks as shares of them, and what the evidence learns."""
IN_LOGITS = ((2.0, 2.0), (4.0, 4.0))
"""Weights of right and wrong marks of the other rules."""


@dataclass(frozen=True)
class Asked:
    """A description and the images that it is asked of.

    Attributes:
        query: the description.
        vector: of it, unit vector float32 `[d]`.
        embeddings: of the images whose labels say whether they fit, unit vectors float32 `[n, d]`.
        relevant: which fit, bool `[n]`.
        weights: of the images in the calibration error, `[n]`.
    """

    query: Query
    vector: Float32Array
    embeddings: Float32Array
    relevant: BoolArray
    weights: Float64Array


Rule = Callable[[Asked, BoolArray, BoolArray], Float32Array]
"""Match scores float32 `[n]` after some images `[n]` were marked right and others wrong."""


@dataclass
class Tally:
    """What was measured after as many rounds, query by query."""

    rows: dict[str, list[float]] = field(default_factory=dict)
    before: Reliability = field(default_factory=Reliability)
    after: Reliability = field(default_factory=Reliability)
    description: Reliability = field(default_factory=Reliability)

    def add(self, **values: float) -> None:
        """Keep the values of one query."""
        for name, value in values.items():
            self.rows.setdefault(name, []).append(value)

    def to_json(self) -> dict[str, Any]:
        """Means over queries in 0..1, with the standard error of mAP and of the paired gain; calibration errors."""
        values = {name: np.array(row) for name, row in self.rows.items()}
        gain = values["residual_mAP"] - values["residual_mAP_before"]
        return {
            **{name: float(row.mean()) for name, row in values.items()},
            "queries": len(values["mAP"]),
            "residual_queries": len(gain),
            "residual_gain": float(gain.mean()),
            "standard_error": {
                "mAP": float(values["mAP"].std(ddof=1) / np.sqrt(len(values["mAP"]))),
                "residual_gain": float(gain.std(ddof=1) / np.sqrt(len(gain))),
            },
            "calibration_error": {
                name: getattr(self, name).expected_calibration_error() for name in ("before", "after", "description")
            },
            "first_hits": {
                "likelihood": float(self.after.predicted.sum() / self.after.pairs.sum()),
                "matching": float(self.after.matched.sum() / self.after.pairs.sum()),
            },
        }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, default=None, help="folder of decoded images and of embeddings")
    parser.add_argument("--held-out", action="store_true", help="choose only; do not read the test splits")
    parser.add_argument("--name", default="feedback", help="name of the result")
    options = parser.parse_args()
    started, cache = now(), options.cache or cache_folder()
    bundle = open_bundle(options.bundle)
    subject = bundle_subject(bundle, "cpu")
    street = in_words_of(load_dataset("street", options.data), bundle.schema)
    content: dict[str, Any] = {
        "subject": subject.identity,
        "marks": MARKS,
        "weights": {"right": RIGHT, "wrong": WRONG, "evidence": EVIDENCE},
        "held_out": choose(bundle, held_out_questions(bundle, subject, street, cache)),
    }
    if options.held_out:
        print(json.dumps(content, indent=1))
        return
    content["datasets"] = measure_test(bundle, subject, street, cache)
    document = result_document("benchmarks.feedback", started, content)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(content["datasets"], indent=1))


def held_out_questions(bundle: Bundle, subject: Subject, street: SearchDataset, cache: Path) -> dict[str, list[Asked]]:
    """Questions of each kind for the held-out training categories of Market-1501, among their images.

    Raises:
        InputError: the bundle was not calibrated on as many held-out images.
    """
    rows = partition(street.train, HELD_OUT, DataConfig.validation_seed).validation
    expected = bundle.manifest["calibration"]["num_images"]
    if len(rows) != expected:
        raise InputError(f"got {len(rows)} held-out images, expected {expected}: the bundle held out something else")
    paths = [street.train.image_paths[row] for row in rows]
    labels = street.train.labels.rows(rows)
    vectors = embeddings(subject, "held_out", paths, labels, cache)
    everybody = street.train.labels.rows(slice(street.train.num_own))
    market = street.train.source_names.index("market1501")
    categories = labels.distinct()[0]
    return {
        kind: [
            asked
            for seed in range(HELD_OUT_SEEDS if given else 1)
            for asked in ask(bundle, categories, given, labels, vectors, market, everybody, seed)
        ]
        for kind, given in KINDS.items()
    }


def measure_test(bundle: Bundle, subject: Subject, street: SearchDataset, cache: Path) -> dict[str, Any]:
    """What the shipped rule brings on each test split, by kind of description and number of rounds."""
    protocol = protocol_of_test_split(street)
    vectors = embeddings(subject, "test", protocol.image_paths, protocol.labels, cache)
    shipped = rocchio(bundle, (RIGHT, WRONG, EVIDENCE))
    measured: dict[str, Any] = {}
    for source, name in enumerate(street.test.source_names):
        kinds = {
            kind: ask(bundle, protocol.queries, given, protocol.labels, vectors, source)
            for kind, given in KINDS.items()
        }
        images = int(np.count_nonzero(protocol.labels.sources == source))
        measured[name] = {"images": images} | {kind: measure(bundle, asked, shipped) for kind, asked in kinds.items()}
    return measured


def embeddings(subject: Subject, name: str, paths: Sequence[Path], labels: Labels, cache: Path) -> Float32Array:
    """Unit vectors float32 `[N, d]` of images, encoded once for each bundle and kept in the cache."""
    file = cache / f"feedback_{subject.identity['fingerprint'][:12]}_{name}.npz"
    if not file.is_file():
        encoded = encode_labelled(subject, paths, labels, cache, Console(stderr=True))
        with whole_file(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, embeddings=encoded.embeddings)
    with np.load(file, allow_pickle=False) as stored:
        return np.asarray(stored["embeddings"])


def ask(
    bundle: Bundle,
    categories: Labels,
    given: int | None,
    labels: Labels,
    vectors: Float32Array,
    source: int,
    everybody: Labels | None = None,
    seed: int = 0,
) -> Iterator[Asked]:
    """The questions with `given` attributes of some categories.

    Args:
        bundle: encodes them.
        categories: asked for.
        given: attributes; None: all.
        labels: of N images.
        vectors: of the images, `[N, d]`.
        source: number of the data set whose categories ask, among its images.
        everybody: labels of a population in which matches are as frequent as where people search; the calibration error
            is weighted to it. None: the images are that population.
        seed: of the attributes that are given.
    """
    encode = AttributeEncoder(bundle).encode
    for partial in make_partial_queries(bundle.schema, categories, given, seed):
        if partial.source != source:
            continue
        fits, decided = judged(bundle.schema, partial, labels)
        relevant, weights = fits[decided], np.ones(int(decided.sum()))
        if everybody is not None:
            fits, known = judged(bundle.schema, partial, everybody)
            share, here = float(fits[known].mean()), float(relevant.mean())
            if here < 1.0:
                weights = np.where(relevant, share / here, (1.0 - share) / (1.0 - here))
        vector = query_vector(partial.query, bundle.statistics, encode)
        yield Asked(partial.query, vector, vectors[decided], relevant, weights)


def match_scores(bundle: Bundle, asked: Asked, vector: Float32Array) -> Float32Array:
    """Match scores float32 `[n]` with a query vector, by which the service orders its hits."""
    scoring = match_scoring(bundle, asked.query, vector)
    return scoring.score(asked.embeddings @ scoring.directions.T)


def rocchio(bundle: Bundle, weights: tuple[float, float, float]) -> Rule:
    """The rule of the service."""

    def scores(asked: Asked, right: BoolArray, wrong: BoolArray) -> Float32Array:
        vectors, share = asked.embeddings, cosine_share(bundle, asked.query)
        return match_scores(bundle, asked, refine(asked.vector, vectors[right], vectors[wrong], share, weights))

    return scores


def in_logits(bundle: Bundle, weights: tuple[float, float], reduce: Callable[[Float32Array], Float32Array]) -> Rule:
    """Another rule, the same for all descriptions: cosines with marked images are added to the logit of the likelihood.

    `reduce` makes one number of the cosines with the right images `[n, marks]`; of the wrong ones it is their mean.
    """

    def scores(asked: Asked, right: BoolArray, wrong: BoolArray) -> Float32Array:
        calibration, vectors = calibration_of(bundle), asked.embeddings
        information = query_information(asked.query, bundle.statistics)
        moved = np.zeros(len(vectors), np.float32)
        if right.any():
            moved += np.float32(weights[0]) * reduce(vectors @ vectors[right].T)
        if wrong.any():
            moved -= np.float32(weights[1]) * mean(vectors @ vectors[wrong].T)
        slope = calibration.score_weight + calibration.growing_score_weight * information
        return match_scores(bundle, asked, asked.vector) + moved / np.float32(slope)

    return scores


def mean(cosines: Float32Array) -> Float32Array:
    """The mean over marks, float32 `[n]`."""
    return np.asarray(cosines.mean(axis=1))


def nearest(cosines: Float32Array) -> Float32Array:
    """The cosine with the nearest mark, float32 `[n]`."""
    return np.asarray(cosines.max(axis=1))


def calibration_of(bundle: Bundle) -> Calibration:
    """The calibration of a bundle.

    Raises:
        InputError: it has none.
    """
    if bundle.calibration is None:
        raise InputError(f"bundle {bundle.name}: is not calibrated, so its hits have no likelihood", parameter="bundle")
    return bundle.calibration


def choose(bundle: Bundle, questions: Mapping[str, Sequence[Asked]]) -> dict[str, Any]:
    """Measure every rule; see the top of this file for what is `best`."""
    grid = [(right, right * share, learns) for right in RIGHTS for share in WRONG_SHARES for learns in EVIDENCES]
    rules = [("rocchio", weights, rocchio(bundle, weights)) for weights in grid]
    for name, reduce in (("mean", mean), ("nearest", nearest)):
        rules += [(name, (*pair, 0.0), in_logits(bundle, pair, reduce)) for pair in IN_LOGITS]
    rows = []
    for name, (right, wrong, learns), rule in rules:
        kinds = {kind: measure(bundle, asked, rule) for kind, asked in questions.items()}
        rounds = [after for measured in kinds.values() for after in measured["rounds"][1:]]
        errors = [after["calibration_error"] for after in rounds]
        rows.append(
            {
                "rule": name,
                "right": right,
                "wrong": wrong,
                "evidence": learns,
                "gain": float(np.mean([after["residual_gain"] for after in rounds])),
                "error_grows": max(error["after"] - error["before"] for error in errors),
                **{kind: [after["residual_gain"] for after in measured["rounds"]] for kind, measured in kinds.items()},
            }
        )
    rows.sort(key=lambda row: row["gain"], reverse=True)
    return {"queries": {kind: len(asked) for kind, asked in questions.items()}, "chosen": chosen(rows), "rules": rows}


def chosen(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The smallest weights, in their order, among the rules that are good enough.

    Raises:
        InputError: all of them spoil the likelihood.
    """
    honest = [row for row in rows if row["rule"] == "rocchio" and row["error_grows"] <= TOLERATED]
    if not honest:
        raise InputError(f"every rule makes the calibration error larger by more than {TOLERATED}")
    enough = max(row["gain"] for row in honest) - WORTHWHILE
    return min(
        (row for row in honest if row["gain"] >= enough),
        key=lambda row: tuple(row[name] for name in ("right", "wrong", "evidence")),
    )


def measure(bundle: Bundle, questions: Iterable[Asked], rule: Rule) -> dict[str, Any]:
    """What a rule brings: a row for no round, one, and so on; see `Tally.to_json`."""
    tallies = [Tally() for _ in range(ROUNDS + 1)]
    for asked in questions:
        follow(bundle, asked, rule, tallies)
    return {"rounds": [tally.to_json() for tally in tallies]}


def follow(bundle: Bundle, asked: Asked, rule: Rule, tallies: Sequence[Tally]) -> None:
    """Ask, mark and refine, and add to the tally of each round."""
    calibration, terms = calibration_of(bundle), len(asked.query.terms)
    information = query_information(asked.query, bundle.statistics)
    own = scores = match_scores(bundle, asked, asked.vector)
    own_likelihood = calibration.likelihood(own, terms, information)
    unmarked = np.ones(len(own), np.bool_)
    for number, tally in enumerate(tallies):
        if number:
            marked = np.flatnonzero(unmarked)[best(scores[unmarked], MARKS)]
            unmarked[marked] = False
            scores = rule(asked, ~unmarked & asked.relevant, ~unmarked & ~asked.relevant)
        (precision,), _ = rank_queries(scores[None], asked.relevant[None])
        tally.add(mAP=float(precision))
        relevant, weights = asked.relevant[unmarked], asked.weights[unmarked]
        if relevant.any():
            pair = np.stack([scores[unmarked], own[unmarked]])
            (after, before), first = rank_queries(pair, np.stack([relevant, relevant]))
            tally.add(residual_mAP=float(after), residual_mAP_before=float(before))
            tally.add(residual_rank1=float(first[0] == 1), residual_rank1_before=float(first[1] == 1))
        likelihood = calibration.likelihood(scores, terms, information)[unmarked]
        hits, before_hits = best(scores[unmarked], FIRST_HITS), best(own[unmarked], FIRST_HITS)
        for reliability, said, rows in (
            (tally.before, own_likelihood[unmarked], before_hits),
            (tally.after, likelihood, hits),
            (tally.description, own_likelihood[unmarked], hits),
        ):
            reliability.add(said[rows], relevant[rows], weights[rows])


def best(scores: Float32Array, count: int) -> Any:
    """Rows of the largest scores, int64."""
    return np.argsort(-scores, kind="stable")[:count]


if __name__ == "__main__":
    main()
