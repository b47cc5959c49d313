"""Bundles and runs beside a published attribute network on the same test images: recognition, search by word, speed.

    python -m scripts.convert_peer person-attributes-recognition-crossroad-0230.xml --out peer.onnx
    python -m benchmarks.peer_attributes --peer peer.onnx --data DATA --bundle bundles/edge

The peer is `person-attributes-recognition-crossroad-0230` of Open Model Zoo, whose card lists eight attributes. `WORDS`
says which words of a data set mean the same. Labels are asked in the words of the data set, a bundle in its own words,
or in those of the data set if `WORDS` does not list its schema. Search by a word ranks all test images: the peer by its
probability, sal by the attribute head alone (`head`), and in the order of `sal search` (`match`) where the bundle is
calibrated. An image counts as a hit if its labels fit the word.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.metrics import roc_auc_score

from benchmarks.speed.measurement import RESULTS, in_turn, ratio, summary
from sal_cli.bench.record import now, result_document
from sal_runtime.arrays import AnyArray, BoolArray, Float32Array, UInt8Array
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle, open_bundle
from sal_runtime.engines.devices import Backend, open_backend
from sal_runtime.errors import InputError
from sal_runtime.files import cache_folder
from sal_runtime.images.spec import ImageSpec
from sal_runtime.matching.scoring import joint_logit, query_information, query_vector, term_logits
from sal_runtime.query.language import Query, parse_query
from sal_runtime.query.schema import AttributeSchema, Group
from sal_train.checkpoint import load_run
from sal_train.datasets.load import load_dataset
from sal_train.datasets.splits import SearchDataset, Split
from sal_train.evaluation.metrics import rank_queries
from sal_train.evaluation.partial_queries import AnsweredQuery, match_scores
from sal_train.evaluation.subject import LabelledEmbeddings, Subject, bundle_subject, encode_labelled, run_subject
from sal_train.images.cache import load_images

PEER = "person-attributes-recognition-crossroad-0230"
PEER_SPEC = ImageSpec(160, 80)
OUTPUTS = (
    *("is_male", "has_bag", "has_backpack", "has_hat"),
    *("has_longsleeves", "has_longpants", "has_longhair", "has_coat_jacket"),
)
"""The attributes of the peer in the order of its card."""
WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "market1501": {
        "is_male": ("male", "female"),
        "has_bag": ("bag|handbag",),
        "has_backpack": ("backpack",),
        "has_hat": ("hat",),
        "has_longsleeves": ("long-sleeve", "short-sleeve"),
        "has_longpants": ("pants,long-lower", "dress|short-lower"),
        "has_longhair": ("long-hair", "short-hair"),
    },
    "peta": {
        "is_male": ("male", "female"),
        "has_bag": ("messenger-bag|plastic-bag",),
        "has_backpack": ("backpack",),
        "has_hat": ("hat",),
        "has_longsleeves": ("long-sleeve", "short-sleeve|no-sleeve"),
        "has_longpants": ("trousers|jeans|suit-lower", "shorts|capri|hot-pants|short-skirt|long-skirt"),
        "has_longhair": ("long-hair", "short-hair|bald"),
        "has_coat_jacket": ("jacket",),
    },
}
"""By schema: the query that means an output of the peer, and the one that means its opposite if people ask for it."""
THREADS = 2
BATCHES = (1, 16)
TURN_SECONDS = 0.3

Queries = Mapping[str, tuple[Query, ...]]
"""Queries of a subject for each output of the peer that it has words for."""
Scores = Callable[[str, int], Float32Array | None]
"""Scores float32 `[N]` of the test images for an output of the peer and a place in its words; None without the word."""


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the converted network, .onnx")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--dataset", action="append", help="market1501, peta (both)")
    parser.add_argument("--bundle", type=Path, action="append", default=[], help="a bundle; may be repeated")
    parser.add_argument("--run", type=Path, action="append", default=[], help="a run; may be repeated, is not timed")
    parser.add_argument("--cache", type=Path, default=None, help="folder of decoded images")
    parser.add_argument("--rounds", type=int, default=41, help="turns of each network")
    parser.add_argument("--name", default="peer_attributes", help="name of the result")
    options = parser.parse_args()
    started = now()
    peer = open_backend(options.peer.read_bytes(), threads=THREADS)
    bundles = {path.name.removesuffix(".bundle"): open_bundle(path) for path in options.bundle}
    subjects = {name: bundle_subject(bundle, "cpu") for name, bundle in bundles.items()}
    subjects |= {path.name: run_subject(load_run(path), "cpu") for path in options.run}
    datasets = [load_dataset(name, options.data) for name in options.dataset or ("market1501", "peta")]
    cache = options.cache or cache_folder()
    content = {
        "peer": {"name": PEER, "licence": "Apache-2.0", "megabytes": options.peer.stat().st_size / 1e6},
        "subjects": {name: subject.identity for name, subject in subjects.items()},
        "datasets": {dataset.name: quality(peer, subjects, dataset, cache) for dataset in datasets},
        "speed": speed(peer, bundles, options.rounds),
    }
    path = RESULTS / f"{options.name}.json"
    document = result_document("benchmarks.peer_attributes", started, content, ("scikit-learn",))
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(content, indent=2))


def quality(peer: Backend, subjects: Mapping[str, Subject], dataset: SearchDataset, cache: Path) -> dict[str, Any]:
    """How well each ranking finds the test people of each word.

    Returns:
        `images`; `words`: one row for each word, with the query, the numbers of `positives` and of `people` among
        them, and by ranking the area under the ROC curve (`auc`) and the average precision (`ap`); `means` of both
        over the words that all rankings know, and their number; `peer_auc`: its mean over the peer's outputs on test
        and on training people, which would differ if the peer had been trained on one of them.
    """
    split, console, schema = dataset.test, Console(stderr=True), dataset.schema
    rankings: dict[str, Scores] = {"peer": peer_scores(probabilities(peer, split, cache))}
    for name, subject in subjects.items():
        images = encode_labelled(subject, split.image_paths, split.labels, cache, console)
        queries = asked(subject.schema, schema)
        rankings[f"{name} head"] = partial(head_scores, subject, images, queries)
        if subject.calibration is not None:
            rankings[f"{name} match"] = partial(search_scores, subject, images, queries)
    rows = [
        word_row(output, place, schema, split, rankings)
        for output, queries in words_of(schema).items()
        for place in range(len(queries))
    ]
    common = [row for row in rows if len(row["rankings"]) == len(rankings)]
    means = {
        name: {measure: float(np.mean([row["rankings"][name][measure] for row in common])) for measure in ("auc", "ap")}
        for name in rankings
    }
    return {
        "images": len(split.image_paths),
        "words": rows,
        "num_common_words": len(common),
        "means": means,
        "peer_auc": {
            side: peer_auc(peer, part, schema, cache) for side, part in (("test", split), ("train", dataset.train))
        },
    }


def peer_auc(peer: Backend, split: Split, schema: AttributeSchema, cache: Path) -> float:
    """The peer's area under the ROC curve, mean over its outputs that have a word."""
    rankings = {"peer": peer_scores(probabilities(peer, split, cache))}
    rows = [word_row(output, 0, schema, split, rankings) for output in words_of(schema)]
    return float(np.mean([row["rankings"]["peer"]["auc"] for row in rows]))


def words_of(schema: AttributeSchema) -> Mapping[str, tuple[str, ...]]:
    """The queries of each output of the peer in the words of a schema.

    Raises:
        InputError: nobody has said which words those are.
    """
    if schema.name not in WORDS:
        raise InputError(f"schema {schema.name!r} has no entry in WORDS of benchmarks/peer_attributes.py; add one")
    return WORDS[schema.name]


def word_row(
    output: str, place: int, schema: AttributeSchema, split: Split, rankings: Mapping[str, Scores]
) -> dict[str, Any]:
    """How well each ranking finds one word, as in `quality`."""
    text = words_of(schema)[output][place]
    relevant = fitting(parse_query(text, schema), schema, split.attributes)
    scored = {name: scores(output, place) for name, scores in rankings.items()}
    people = {split.identities[row] or row for row in np.flatnonzero(relevant)}
    return {
        "output": output if place == 0 else f"not {output}",
        "query": text,
        "positives": int(relevant.sum()),
        "people": len(people),
        "rankings": {name: found(values, relevant) for name, values in scored.items() if values is not None},
    }


def found(scores: Float32Array, relevant: BoolArray) -> dict[str, float]:
    """Area under the ROC curve (equal scores count half) and average precision of one ranking."""
    precision, _ = rank_queries(scores[None], relevant[None])
    return {"auc": float(roc_auc_score(relevant, scores)), "ap": float(precision[0])}


def fitting(query: Query, schema: AttributeSchema, attributes: UInt8Array) -> BoolArray:
    """Which labels uint8 `[N, A]` fit a query, bool `[N]`."""
    fits = np.ones(len(attributes), dtype=np.bool_)
    for term in query.terms:
        named = [(schema.groups[group], state) for group, states in term.states for state in states]
        holds = np.any([_holds(group, state, attributes) for group, state in named], axis=0)
        fits &= holds != term.negated
    return fits


def _holds(group: Group, state: int, attributes: UInt8Array) -> BoolArray:
    bit = group.states[state].bit
    return np.asarray(~attributes[:, list(group.bits)].any(axis=1) if bit is None else attributes[:, bit] == 1)


def probabilities(peer: Backend, split: Split, cache: Path) -> Float32Array:
    """The peer's probabilities of all test images, float32 `[N, 8]`."""
    images = load_images(split.image_paths, PEER_SPEC, cache)
    return np.concatenate([peer.run(images[start : start + 64]) for start in range(0, len(images), 64)])


def peer_scores(probability: Float32Array) -> Scores:
    """A ranking by probability, or by its opposite."""

    def scores(output: str, place: int) -> Float32Array:
        column = probability[:, OUTPUTS.index(output)]
        return column if place == 0 else -column

    return scores


def head_scores(
    subject: Subject, images: LabelledEmbeddings, queries: Queries, output: str, place: int
) -> Float32Array | None:
    """Logits of the joint probability by the attribute head."""
    if output not in queries:
        return None
    columns: Mapping[int, AnyArray] = dict(enumerate(images.logits.T))
    return np.asarray(joint_logit(term_logits(queries[output][place], subject.schema, columns)))


def search_scores(
    subject: Subject, images: LabelledEmbeddings, queries: Queries, output: str, place: int
) -> Float32Array | None:
    """Match scores of a calibrated subject, which order the hits of `sal search`."""
    if output not in queries:
        return None
    assert subject.calibration is not None
    query = queries[output][place]
    cosines = images.embeddings @ query_vector(query, subject.statistics, subject.encode_attributes)
    information = query_information(query, subject.statistics)
    answered = AnsweredQuery(query, {"marginalised": cosines}, np.zeros(len(cosines), dtype=np.bool_), information)
    return match_scores(answered, subject.calibration, images, subject.schema)


def asked(schema: AttributeSchema, of_data: AttributeSchema) -> Queries:
    """The queries of a subject: in the words of its schema, or of the data set if `WORDS` has none for the schema.

    Raises:
        SchemaError: the schema does not know the words of the data set either.
    """
    words = WORDS.get(schema.name, words_of(of_data))
    return {output: tuple(parse_query(text, schema) for text in texts) for output, texts in words.items()}


def speed(peer: Backend, bundles: Mapping[str, Bundle], rounds: int) -> dict[str, Any]:
    """Milliseconds an image of each network at each batch size, in turn; pixels in memory, on two threads in fp32."""
    networks: dict[str, tuple[Backend, ImageSpec]] = {"peer": (peer, PEER_SPEC)}
    for name, bundle in bundles.items():
        model = bundle.read_bytes(bundle.artefact(IMAGE_ROLE, precision="fp32").file)
        networks[name] = (open_backend(model, threads=THREADS), bundle.image_spec)
    rows = []
    for batch in BATCHES:
        contenders = {name: partial(seconds_an_image, *network, batch) for name, network in networks.items()}
        measured = in_turn(contenders, rounds)
        rows += [
            {
                "network": name,
                "height_width": [networks[name][1].height, networks[name][1].width],
                "batch": batch,
                "milliseconds_an_image": summary([1e3 * value for value in values]),
                "images_per_second": summary([1 / value for value in values]),
                "speed_to_peer": ratio(measured["peer"], values),
            }
            for name, values in measured.items()
        ]
    return {"threads": THREADS, "precision": "fp32", "rounds": rounds, "rows": rows}


def seconds_an_image(network: Backend, spec: ImageSpec, batch: int) -> float:
    """Mean over the runs of one turn; the first is not timed, because the caches hold another network's data."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3), dtype=np.uint8)
    network.run(pixels)
    runs, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < TURN_SECONDS:
        network.run(pixels)
        runs += 1
    return passed / (runs * batch)


if __name__ == "__main__":
    main()
