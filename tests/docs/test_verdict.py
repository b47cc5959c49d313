"""The table that compares the rows of a plan with its row `embed`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.speed.measurement import RESULTS
from docs.build.verdict import paired, verdict
from sal_runtime.errors import InputError

PLAN = """
[[runs]]
name = "pretrained"
[[runs]]
name = "embed"
title = "Embed"
[[runs]]
name = "full"
title = "SAL"
"""


def write(results: Path, name: str, seed: int, precision: list[float], is_seen: list[int]) -> None:
    folder = results / "training" / "ladder-tiny"
    folder.mkdir(parents=True, exist_ok=True)
    mean = sum(precision) / len(precision)
    measured = {"mAP": mean, "rank1": 0.5, "average_precision": precision, "is_seen": is_seen}
    held_out = measured | {"is_seen": [0] * len(precision)}
    (folder / f"peta-{name}-seed{seed}.json").write_text(
        json.dumps({"seed": seed, "held_out": held_out, "test": measured})
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "ladder-tiny.toml").write_text(PLAN)
    shutil.copy(RESULTS / "published.json", tmp_path)
    for seed in (1, 2):
        write(tmp_path, "embed", seed, [0.2, 0.4, 0.6], [0, 0, 1])
        write(tmp_path, "full", seed, [0.3, 0.52, 0.1], [0, 0, 1])
    return tmp_path


def test_rows_are_compared_with_embed_on_the_same_seeds_and_queries(results: Path) -> None:
    lines = [line.strip("| ").split(" | ") for line in verdict(results, "ladder-tiny", "peta", results).splitlines()]
    assert lines[2] == ["pretrained", "-", "-", "-", "-", "-", "-", "-"]
    assert lines[3] == ["Embed", "2", "40.0 ± 0.0 (2)", "-", "40.0 ± 0.0 (2)", "50.0 ± 0.0 (2)", "-", "31.3 / 34.0"]
    full = lines[4]
    assert full[3].startswith("-9.3 ± 12.9 (p ")  # held out: all six pairs, and one query that lost much
    assert full[6].startswith("**+11.0 ± 1.0 (p ")  # the two unseen queries gained 10 and 12 points
    assert full[7] == "41.2 / 47.0"


def test_two_runs_are_compared_on_unseen_queries(results: Path) -> None:
    files = [f"training/ladder-tiny/peta-{name}-seed1.json" for name in ("full", "embed")]
    assert paired(results, *files, "test") == "+11.0 ± 1.0"


def test_a_plan_that_is_missing_is_named(results: Path) -> None:
    with pytest.raises(InputError, match="verdict\\('ladder'\\)"):
        verdict(results, "ladder", "peta", results)
