"""What the report shows: the history of a run, and the run measured on the training categories that it held out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sal_runtime.arrays import BoolArray, Float32Array, UInt8Array
from sal_train.checkpoint import METRICS_FILE, Run
from sal_train.datasets.splits import SearchDataset, describe
from sal_train.evaluation.attribute_recognition import recognition_rates
from sal_train.evaluation.full_queries import by_chance, encode_descriptions
from sal_train.evaluation.metrics import summarise
from sal_train.evaluation.protocol import Protocol, protocol_of_held_out
from sal_train.evaluation.subject import encode_labelled, run_subject
from sal_train.images.cache import load_images

SHOWN_QUERIES = 4
"""Of the best queries, and of the worst."""
SHOWN_HITS = 8


@dataclass(frozen=True)
class AskedQuery:
    """A held-out category, searched among all held-out images.

    Attributes:
        words: its description.
        precision: average precision, 0..1.
        num_relevant: images of the category.
        hits: the best images, uint8 RGB `[n, H, W, 3]`.
        is_right: of these, whether the labels fit the description, bool `[n]`.
    """

    words: tuple[str, ...]
    precision: float
    num_relevant: int
    hits: UInt8Array
    is_right: BoolArray


@dataclass(frozen=True)
class HeldOut:
    """The run on the categories that it held out.

    Attributes:
        metrics: of full queries, with `random`, as in the report of `sal eval`.
        recognition: from `recognition_rates`.
        best: the queries of highest average precision, best first.
        worst: the others of lowest, worst first.
    """

    metrics: Mapping[str, Any]
    recognition: Mapping[str, Any]
    best: tuple[AskedQuery, ...]
    worst: tuple[AskedQuery, ...]


def history(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, one per epoch."""
    lines = (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def measure_held_out(run: Run, dataset: SearchDataset, cache_dir: Path, device: str) -> HeldOut | None:
    """Search for every held-out category among all held-out images; None if the run held none out.

    The test split is not touched: it is for the one measurement that is reported.

    Args:
        run: finished.
        dataset: that it was trained on.
        cache_dir: of decoded images.
        device: `cpu` or `cuda`.
    """
    if not run.provenance["held_out_categories"]:
        return None
    protocol = protocol_of_held_out(run, dataset)
    subject = run_subject(run, device)
    encoded = encode_labelled(subject, protocol.image_paths, protocol.labels, cache_dir, Console(stderr=True))
    pixels = load_images(protocol.image_paths, subject.image_spec, cache_dir)
    queries = encode_descriptions(protocol.queries, subject.statistics, subject.encode_attributes, seed=0)
    scores = protocol.within_galleries(subject.scores(queries, encoded.embeddings))
    precision, first = protocol.rank(scores)
    metrics = summarise(precision, first, len(pixels)).to_json()
    metrics["random"] = by_chance(protocol)
    order = np.argsort(-precision, kind="stable").tolist()
    best = order[: min(SHOWN_QUERIES, (len(order) + 1) // 2)]
    worst = [query for query in reversed(order) if query not in best][:SHOWN_QUERIES]

    def asked(queries: Sequence[int]) -> tuple[AskedQuery, ...]:
        return tuple(_asked(run, protocol, pixels, scores, query, float(precision[query])) for query in queries)

    recognition = recognition_rates(encoded.logits, protocol.labels, run.schema, protocol.identities)
    return HeldOut(metrics, recognition, asked(best), asked(worst))


def _asked(
    run: Run, protocol: Protocol, pixels: UInt8Array, scores: Float32Array, query: int, precision: float
) -> AskedQuery:
    hits = np.argsort(-scores[query], kind="stable")[:SHOWN_HITS]
    relevant = protocol.categories == query
    asked = protocol.queries
    words = describe(run.schema, asked.attributes[query], None if asked.known is None else asked.known[query])
    return AskedQuery(words, precision, int(relevant.sum()), np.asarray(pixels[hits]), relevant[hits])
