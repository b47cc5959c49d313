"""Error rates of a bundle's words by groups of people: labelled gender and labelled age.

    python -m benchmarks.group_error_rates --bundle bundles/edge --data DATA

A word is recognised in an image if the attribute head gives it a probability above 1/2, as everywhere in sal. For each
group of test people and each word, recall is the share of images of people with the word in which it is recognised, and
the false-alarm rate that of images of people without it. Every person counts once: rates are means over people of the
share among a person's images, and the Wilson interval takes people, not images, for independent draws. Rates of fewer
than `ENOUGH_PEOPLE` people are left out. Labels are those of the data sets, which are impressions of labellers.

The test splits are read once, to report what the shipped bundle does; nothing is chosen by the result.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.speed.measurement import RESULTS
from sal_cli.bench.record import now, result_document
from sal_runtime.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.files import cache_folder
from sal_runtime.query.schema import AttributeSchema
from sal_train.datasets.load import load_dataset
from sal_train.datasets.splits import Labels, SearchDataset, states_from_vectors
from sal_train.datasets.street import in_words_of
from sal_train.evaluation.subject import Subject, bundle_subject, encode_labelled

GROUPINGS = ("gender", "age")
ENOUGH_PEOPLE = 20
"""Fewest people of a group with a word, or without it, whose rate is reported."""
NORMAL_95 = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""
SIDES = {"recall": True, "false_alarm": False}
"""Each rate, and whether it is measured on people with the word."""


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--dataset", action="append", help="market1501, peta (both)")
    parser.add_argument("--cache", type=Path, default=None, help="folder of decoded images")
    parser.add_argument("--name", default="group_error_rates", help="name of the result")
    options = parser.parse_args()
    started = now()
    subject = bundle_subject(open_bundle(options.bundle), "cpu")
    datasets = [load_dataset(name, options.data) for name in options.dataset or ("market1501", "peta")]
    content = {
        "subject": subject.identity,
        "enough_people": ENOUGH_PEOPLE,
        "datasets": {data.name: measure(subject, data, options.cache or cache_folder()) for data in datasets},
    }
    path = RESULTS / f"{options.name}.json"
    document = result_document("benchmarks.group_error_rates", started, content)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(content, indent=1))


def measure(subject: Subject, dataset: SearchDataset, cache: Path) -> dict[str, Any]:
    """Rates of all words on the test people of a data set, by each of `GROUPINGS`; `images` and `people` in all."""
    split = dataset.test
    translated = in_words_of(dataset, subject.schema).test
    encoded = encode_labelled(subject, translated.image_paths, translated.labels, cache, Console(stderr=True))
    people = np.unique(people_of(split.identities), return_inverse=True)[1]
    states = states_from_vectors(dataset.schema, split.attributes)
    by_grouping = {}
    for grouping in GROUPINGS:
        number = dataset.schema.group_index[grouping]
        names = [state.name for state in dataset.schema.groups[number].states]
        members = {name: states[:, number] == index for index, name in enumerate(names)}
        members = {name: rows for name, rows in members.items() if rows.any()}
        by_grouping[grouping] = {
            "groups": {
                name: {"images": int(chosen.sum()), "people": len(np.unique(people[chosen]))}
                for name, chosen in members.items()
            },
            "words": word_rates(encoded.logits, encoded.labels, subject.schema, people, members),
        }
    return {"images": len(people), "people": int(people.max()) + 1, "groupings": by_grouping}


def people_of(identities: Sequence[str]) -> list[str]:
    """A name for each image's person; an image of an unknown person is a person of its own."""
    return [identity or f" {row}" for row, identity in enumerate(identities)]


def word_rates(
    logits: Float32Array,
    labels: Labels,
    schema: AttributeSchema,
    people: Int64Array,
    members: Mapping[str, BoolArray],
) -> list[dict[str, Any]]:
    """Recall and false-alarm rate of each word in each group of people.

    Args:
        logits: of the attribute head, float32 `[N, A]`.
        labels: of the images, in the words of the head.
        schema: of the A attributes.
        people: number of each image's person, int64 `[N]`.
        members: by group, which images show one of its people, bool `[N]`.

    Returns:
        One row for each word with at least one rate: `word` and by rate (`recall`, `false_alarm`) and group `rate`,
        `interval` (95 %), `people` and `images`; groups with too few people are left out.
    """
    known = np.ones(logits.shape, np.bool_) if labels.known is None else labels.known
    rows = []
    for bit, word in enumerate(schema.bit_names):
        row: dict[str, Any] = {"word": word}
        for name, with_word in SIDES.items():
            images = known[:, bit] & ((labels.attributes[:, bit] == 1) == with_word)
            measured = {group: _rate(logits[:, bit] > 0, people, images & of) for group, of in members.items()}
            row[name] = {group: rate for group, rate in measured.items() if rate["people"] >= ENOUGH_PEOPLE}
        if any(row[name] for name in SIDES):
            rows.append(row)
    return rows


def _rate(recognised: BoolArray, people: Int64Array, images: BoolArray) -> dict[str, Any]:
    shares = share_of_each(recognised[images], people[images])
    rate = float(shares.mean()) if len(shares) else 0.0
    interval = wilson(rate, len(shares)) if len(shares) else (0.0, 1.0)
    return {"rate": rate, "interval": list(interval), "people": len(shares), "images": int(images.sum())}


def share_of_each(recognised: BoolArray, people: Int64Array) -> Float64Array:
    """For each person, the share of the images `[n]` in which a word is recognised."""
    _, numbers = np.unique(people, return_inverse=True)
    return np.asarray(np.bincount(numbers, recognised) / np.bincount(numbers))


def wilson(rate: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate over `count` independent draws."""
    square = NORMAL_95**2 / count
    middle = (rate + square / 2) / (1 + square)
    half = math.sqrt(square * (rate * (1 - rate) + square / 4)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


if __name__ == "__main__":
    main()
