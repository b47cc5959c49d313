"""Ranking a million images by the match score, against ranking them by the cosine.

    python -m benchmarks.speed.match_ranking

The vectors are those of the demo gallery by the shipped bundle, each with noise, so that the bounds of the score meet
vectors like real ones. Before anything is timed, the hits must be those of a sort of all scores.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.speed.measurement import in_turn, ratio, seconds, summary, write_result
from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import AttributeEncoder, ImageEncoder
from sal_runtime.images.pixels import load_image
from sal_runtime.matching.scoring import match_scoring, query_vector
from sal_runtime.query.language import parse_query
from sal_runtime.ranking.exact import top_k
from sal_runtime.ranking.scoring import Scoring, top_k_by_score

ITEMS = 1_000_000
PART = 32_768
NOISE = 0.05
"""Standard deviation of each of the 128 numbers of a unit vector."""
K = 20
ROUNDS = 9
DESCRIPTIONS = (
    "male",
    "male,backpack",
    "female,upper=red",
    "male,backpack,!hat,upper=red|blue",
    "male,backpack,!hat,upper=red|blue,lower=black,long-hair",
    "upper=red|blue",
    "!upper=red",
    "hat|backpack",
)
TOGETHER = 64


def main() -> None:
    """Measure and write the result."""
    bundle = open_bundle("bundles/edge")
    parts = made_up_gallery(ImageEncoder(bundle), Path("demo/gallery"))
    encode = AttributeEncoder(bundle).encode
    asked = {}
    for text in DESCRIPTIONS:
        query = parse_query(text, bundle.schema)
        vector = query_vector(query, bundle.statistics, encode)
        asked[text] = ([match_scoring(bundle, query, vector)], vector[None])
    rules, vectors = (list(column) for column in zip(*asked.values(), strict=True))
    times = TOGETHER // len(asked)
    asked[f"{TOGETHER} together"] = ([rule for (rule,) in rules] * times, np.concatenate(vectors * times))
    for name, (scorings, _) in asked.items():
        check(scorings[:1], parts, name)
    result = {}
    for name, (scorings, queries) in asked.items():
        contenders = {
            "match_score": partial(seconds, partial(top_k_by_score, scorings, parts, K)),
            "cosine": partial(seconds, partial(top_k, queries, parts, K)),
        }
        measured = in_turn(contenders, ROUNDS)
        result[name] = {
            **{f"{rule}_milliseconds": summary([1e3 * value for value in values]) for rule, values in measured.items()},
            "match_score_to_cosine": ratio(measured["match_score"], measured["cosine"]),
        }
    write_result("match_ranking", {"items": ITEMS, "k": K, "descriptions": result})


def made_up_gallery(encoder: ImageEncoder, folder: Path) -> list[Float32Array]:
    """Unit vectors float32 `[n, 128]` in parts, around those of the images of a folder."""
    paths = sorted(folder.glob("*.jpg"))
    known = encoder.encode(np.stack([load_image(path, encoder.bundle.image_spec) for path in paths]))
    generator = np.random.default_rng(0)
    parts = []
    for start in range(0, ITEMS, PART):
        size = min(PART, ITEMS - start)
        vectors = known[generator.integers(len(known), size=size)]
        vectors += NOISE * generator.standard_normal(vectors.shape, dtype=np.float32)
        parts.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return parts


def check(scorings: list[Scoring], parts: list[Float32Array], name: str) -> None:
    """Compare the hits with a sort of all scores.

    Raises:
        RuntimeError: they differ.
    """
    (scoring,) = scorings
    scores = np.concatenate([scoring.score(part @ scoring.directions.T) for part in parts])
    expected = np.sort(scores)[::-1][:K]
    _, found = top_k_by_score(scorings, parts, K)
    if not np.allclose(found[0], expected, rtol=1e-5, atol=1e-5):
        raise RuntimeError(f"{name}: the scores are {found[0]}, expected {expected}")


if __name__ == "__main__":
    main()
