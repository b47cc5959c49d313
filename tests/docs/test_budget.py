"""Tables of an error budget whose numbers are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docs.build import budget


def pair(m_ap: float) -> dict[str, float]:
    return {"mAP": m_ap, "rank1": m_ap / 2}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    kinds = {"num_queries": 12, "description": pair(0.3), "images": pair(0.5), "both": pair(0.6)}
    held_out = {
        "cosine": pair(0.4),
        "first_hits": {
            "groups": {"hat": {"differs": 0.2, "at_random": 0.1}, "boots": {"differs": 0.3, "at_random": 0}}
        },
        "known": {"hat": pair(0.42), "all colours": pair(0.5)},
        "queries": {"half_of_the_images": kinds, "one_person": None},
        "distances": {
            "description_to_own_centroid": 0.31,
            "images_to_own_centroid": 0.5,
            "description_to_nearest_other_centroid": 0.25,
            "own_centroid_is_nearest": 0.4,
        },
    }
    (tmp_path / "budget.json").write_text(json.dumps({"dataset": "peta", "held_out": held_out}))
    return tmp_path


def rows_of(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_groups_are_ordered_by_how_often_they_differ(results: Path) -> None:
    rows = rows_of(budget.first_hits(results, "budget.json", "held_out"))
    assert rows == [["boots", "30", "0", "-"], ["hat", "20", "10", "2.00"]]


def test_known_groups_are_ordered_by_what_they_would_gain(results: Path) -> None:
    rows = rows_of(budget.known_groups(results, "budget.json"))
    assert rows == [["as it is", "40.0 / 20.0"], ["all colours", "50.0 / 25.0"], ["hat", "42.0 / 21.0"]]


def test_queries_and_distances_are_those_of_the_file(results: Path) -> None:
    rows = rows_of(budget.query_kinds(results, "budget.json"))
    assert rows == [["peta", "half of the images", "12", "30.0 / 15.0", "50.0 / 25.0", "60.0 / 30.0"]]
    assert rows_of(budget.distances(results, "budget.json")) == [["peta", "0.31", "0.50", "0.25", "40"]]


def test_the_diagnostics_of_a_generator_are_a_column_each(results: Path) -> None:
    document: dict[str, object] = {"dataset": "peta", "runs": ["peta-no-consistency-seed1"]}
    for _, path, _ in budget.DIAGNOSTICS:
        node = document
        *parents, last = path.split(".")
        for key in parents:
            node = node.setdefault(key, {})  # type: ignore[assignment]
        node[last] = 0.5
    (results / "generated.json").write_text(json.dumps(document))
    table = budget.generated(results, "generated.json")
    assert table.splitlines()[0] == "|  | peta, `no-consistency` |"
    assert {row[-1] for row in rows_of(table)} == {"50.0", "0.50"}
