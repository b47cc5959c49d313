"""Result files of the systems of Table 1, made up for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.training.campaign import load_plan
from docs.build.tables import PLANS


@cache
def planned_settings(plan: str, dataset: str, recipe: str) -> list[str]:
    """The settings that a plan of Table 1 has for a recipe."""
    runs = load_plan(PLANS / f"{plan}.toml")
    return next(list(run.settings) for run in runs if (run.dataset, run.name) == (dataset, recipe))


def write_test_result(
    results: Path,
    plan: str,
    dataset: str,
    recipe: str,
    seed: int,
    precision: Sequence[float],
    is_seen: Sequence[int],
    **others: Any,
) -> None:
    """A result of a final plan with this average precision of each query; rank values are halves of the mAP."""
    folder = results / "training" / plan
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"seen": 1, "unseen": 0}
    test: dict[str, Any] = {
        **_metrics(precision),
        "average_precision": list(precision),
        "is_seen": list(is_seen),
    }
    for part, flag in parts.items():
        chosen = [value for value, is_one in zip(precision, is_seen, strict=True) if is_one == flag]
        if chosen:
            test[part] = _metrics(chosen)
    document = {
        "seed": seed,
        "recipe": recipe,
        "settings": planned_settings(plan, dataset, recipe),
        "epochs": 20,
        "device": "cpu",
        "machine": {"cpu": "EPYC", "gpu": None},
        "train_seconds": 100.0 * seed,
        "embedding_dim": 2560,
        "is_pairwise": recipe == "aihm-like",
        "held_out": None,
        "test": test,
    }
    (folder / f"{dataset}-{recipe}-seed{seed}.json").write_text(json.dumps(document | others))


def _metrics(precision: Sequence[float]) -> dict[str, Any]:
    mean = sum(precision) / len(precision)
    values = {"mAP": mean, **{rank: mean / 2 for rank in ("rank1", "rank5", "rank10")}}
    return {**values, "standard_error": dict.fromkeys(values, 0.02)}
