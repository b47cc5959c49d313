"""Tables of the error budget of unseen descriptions, and of what a generator makes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.build.results import decimals, percent, read_result
from docs.build.tables import NOTHING, markdown

SHOWN = 10
"""Groups of attributes in a table."""


def first_hits(results: Path, file: str, part: str) -> str:
    """The groups that differ most often in wrong first hits, beside a wrong image taken at random."""
    measured = read_result(results / file)[part]["first_hits"]
    groups = sorted(measured["groups"].items(), key=lambda item: item[1]["differs"], reverse=True)[:SHOWN]
    rows = [
        (
            name,
            percent(group["differs"], 0),
            percent(group["at_random"], 0),
            decimals(group["differs"] / group["at_random"], 2) if group["at_random"] else NOTHING,
        )
        for name, group in groups
    ]
    return markdown(("differs from the query", "in wrong first hits", "in wrong images at random", "ratio"), rows)


def known_groups(results: Path, file: str) -> str:
    """Metrics if one group, or a family of them, were known without error; the largest gains on held-out categories."""
    document = read_result(results / file)
    parts = [part for part in ("held_out", "test") if part in document]
    known = document[parts[0]]["known"]
    titles = sorted(known, key=lambda title: known[title]["mAP"], reverse=True)[: 2 * SHOWN]
    rows = [("as it is", *(_pair(document[part]["cosine"]) for part in parts))]
    rows += [(title, *(_pair(document[part]["known"][title]) for part in parts)) for title in titles]
    names = {"held_out": "held-out categories", "test": "unseen test categories"}
    return markdown(("known", *(f"{names[part]}: mAP / rank-1" for part in parts)), rows)


def query_kinds(results: Path, *files: str) -> str:
    """Metrics of descriptions and of queries made of true images, on held-out categories."""
    rows = []
    for file in files:
        document = read_result(results / file)
        kinds = document["held_out"]["queries"]
        for title, key in (("half of the images", "half_of_the_images"), ("one person", "one_person")):
            if kinds[key] is not None:
                cells = [_pair(kinds[key][name]) for name in ("description", "images", "both")]
                rows.append((document["dataset"], title, decimals(kinds[key]["num_queries"], 0), *cells))
    heading = ("", "the example is", "categories", "description: mAP / rank-1", "example", "sum of both")
    return markdown(heading, rows)


def distances(results: Path, *files: str) -> str:
    """Squared distances in the common space, on held-out categories."""
    rows = []
    for file in files:
        document = read_result(results / file)
        found = document["held_out"]["distances"]
        names = ("description_to_own_centroid", "images_to_own_centroid", "description_to_nearest_other_centroid")
        rows.append(
            (
                document["dataset"],
                *(decimals(found[name], 2) for name in names),
                percent(found["own_centroid_is_nearest"], 0),
            )
        )
    heading = ("", "description to centroid", "images to centroid", "to the nearest other", "own is nearest, %")
    return markdown(heading, rows)


def generated(results: Path, *files: str) -> str:
    """The diagnostics of a generator, one column for each file."""
    documents = [read_result(results / file) for file in files]
    rows = [(title, *(_at(document, path, count) for document in documents)) for title, path, count in DIAGNOSTICS]
    return markdown(("", *(f"{document['dataset']}, `{_row_name(document)}`" for document in documents)), rows)


DIAGNOSTICS = (
    ("a fresh classifier tells real from synthetic f_v, % (50 is chance)", "fresh_classifier.features", None),
    ("the same on embeddings, %", "fresh_classifier.embeddings", None),
    ("synthetic f_v to the nearest real one", "neighbours.features.synthetic_to_real", 2),
    ("real f_v to the nearest real one", "neighbours.features.real_to_real", 2),
    ("variance over z, % of that over real images: f_v", "diversity.features", None),
    ("the same for embeddings, %", "diversity.embeddings", None),
    ("cosine to the centroid of the true images: mean synthetic embedding", "centroids.synthetic.cosine_to_own", 2),
    ("the same: E_A's query", "centroids.query.cosine_to_own", 2),
    ("own centroid is the nearest, %: mean synthetic embedding", "centroids.synthetic.own_is_nearest", None),
    ("the same: E_A's query, %", "centroids.query.own_is_nearest", None),
    ("mAP of a search by E_A's query", "queries.query.mAP", None),
    ("by the mean synthetic embedding", "queries.synthetic.mAP", None),
    ("by the sum of the two", "queries.sum.mAP", None),
)
"""Title, path in the result, decimals; None for percent."""


def _at(document: Mapping[str, Any], path: str, count: int | None) -> str:
    value: Any = document
    for key in path.split("."):
        value = value[key]
    return percent(value) if count is None else decimals(value, count)


def _row_name(document: Mapping[str, Any]) -> str:
    """Name of the row of the ladder whose runs a file is about."""
    return str(document["runs"][0]).partition("-")[2].rpartition("-")[0]


def _pair(metrics: Mapping[str, float]) -> str:
    return f"{percent(metrics['mAP'])} / {percent(metrics['rank1'])}"
