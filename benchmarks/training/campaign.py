"""Train and evaluate every run of a plan. Finished runs are skipped, interrupted ones are resumed.

    python -m benchmarks.training.campaign --plan benchmarks/training/plans/ladder.toml --data DATA --runs runs/ladder

A plan is a TOML file:

    seeds = [1, 2, 3]
    datasets = ["market1501", "peta"]
    measure = ["held_out", "test"]      # categories that a finished run is evaluated on
    recipe = "paper"
    settings = ["model.backbone=efficientnet_lite0"]

    [[runs]]
    name = "pretrained"
    title = "as tables show it"
    seeds = [1]                         # replaces the plan's; datasets, measure and recipe can too
    settings = ["stages.0.epochs=8"]    # follow the plan's; {seed} in a setting is the seed of the run

    [[runs]]
    name = "symbiotic"
    start_from = "pretrained"           # weights of that run on the same data, with the same seed or else its first

Each run writes `benchmarks/results/training/PLAN/DATASET-NAME-seedN.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.measurement import RESULTS
from benchmarks.training.ranked_run import rank_run
from sal_cli.bench.record import commit
from sal_runtime.doctor.machine import command_line, machine, versions
from sal_runtime.errors import ConfigError, SalError
from sal_runtime.files import cache_folder, whole_file
from sal_train.checkpoint import CHECKPOINT_FILE, CONFIG_FILE, load_run
from sal_train.config import Config
from sal_train.datasets import SearchDataset, load_dataset
from sal_train.evaluation.metrics import rank_queries, summarise
from sal_train.recipe import load_config
from sal_train.train import train

PLAN_KEYS = {"seeds", "datasets", "measure", "recipe", "settings", "runs"}
RUN_KEYS = (PLAN_KEYS - {"runs"}) | {"name", "title", "start_from"}
MEASURES = ("held_out", "test")


@dataclass(frozen=True)
class PlannedRun:
    """One training and its measurements.

    Attributes:
        plan: name of the plan.
        start_from: file name of the run that gives the first weights.
        measure: any of `held_out` (categories that the run held out of training) and `test` (the test split).
    """

    plan: str
    name: str
    title: str
    dataset: str
    seed: int
    recipe: str
    settings: tuple[str, ...]
    start_from: str | None
    measure: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """Name of the run folder and, with .json, of the result file."""
        return f"{self.dataset}-{self.name}-seed{self.seed}"

    def config(self, runs: Path) -> Config:
        """The resolved recipe.

        Args:
            runs: the folder of all runs.
        """
        settings = [*(setting.replace("{seed}", str(self.seed)) for setting in self.settings), f"run.seed={self.seed}"]
        if self.start_from is not None:
            settings.append(f"run.start_from={json.dumps(str(runs / self.start_from))}")
        return load_config(self.recipe, settings)


def load_plan(path: Path) -> list[PlannedRun]:
    """All runs of a plan in the order of the file: every data set and seed of each name.

    Raises:
        ConfigError: a key or a value is unknown, or a run starts from one that is not defined before it.
    """
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    if unknown := set(tree) - PLAN_KEYS:
        raise ConfigError(f"{path}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(sorted(PLAN_KEYS))}")
    planned: list[PlannedRun] = []
    for entry in tree["runs"]:
        if unknown := set(entry) - RUN_KEYS:
            raise ConfigError(
                f"{path}: unknown key {sorted(unknown)[0]!r} of a run; known: {', '.join(sorted(RUN_KEYS))}"
            )
        merged = {"measure": MEASURES, "title": entry["name"], **tree, **entry}
        if unknown := set(merged["measure"]) - set(MEASURES):
            raise ConfigError(f"{path}: measure {sorted(unknown)[0]!r}; known: {', '.join(MEASURES)}")
        planned += _runs_of(path, merged, (*tree.get("settings", ()), *entry.get("settings", ())), planned)
    return planned


def _runs_of(
    path: Path, entry: Mapping[str, Any], settings: tuple[str, ...], before: list[PlannedRun]
) -> Iterator[PlannedRun]:
    for dataset in entry["datasets"]:
        for seed in entry["seeds"]:
            start_from = None
            if "start_from" in entry:
                bases = [run for run in before if (run.name, run.dataset) == (entry["start_from"], dataset)]
                if not bases:
                    raise ConfigError(
                        f"{path}: run {entry['name']!r} starts from {entry['start_from']!r}, which is not "
                        f"defined before it for {dataset}"
                    )
                same_seed = [run for run in bases if run.seed == seed]
                start_from = (same_seed or bases)[0].file_name
            yield PlannedRun(
                plan=path.stem,
                name=entry["name"],
                title=entry["title"],
                dataset=dataset,
                seed=seed,
                recipe=entry["recipe"],
                settings=settings,
                start_from=start_from,
                measure=tuple(entry["measure"]),
            )


@dataclass(frozen=True)
class Places:
    """Where a campaign reads and writes.

    Attributes:
        data: the folder of the data sets.
        runs: run folders; you can delete those that have a result and from which no other run starts.
        results: result files.
        cache: decoded images.
    """

    data: Path
    runs: Path
    results: Path
    cache: Path


def carry_out(planned: list[PlannedRun], places: Places, deadline: float | None = None) -> bool:
    """Train and measure every run that has no result yet.

    Args:
        planned: runs in order, each after the one it starts from.
        places: folders to read and write.
        deadline: by the clock of `time.monotonic`; a training stops after the epoch in which it passes.

    Returns:
        Whether all runs have a result now.
    """
    datasets: dict[str, SearchDataset] = {}
    for run in planned:
        result = places.results / run.plan / f"{run.file_name}.json"
        if result.is_file():
            continue
        if deadline is not None and time.monotonic() > deadline:
            return False
        if run.dataset not in datasets:
            datasets[run.dataset] = load_dataset(run.dataset, places.data)
        print(f"{run.plan}: {run.file_name}", file=sys.stderr, flush=True)
        folder = places.runs / run.file_name
        resume = (folder / CONFIG_FILE).is_file()
        config = run.config(places.runs)
        if not train(config, datasets[run.dataset], folder, places.cache, resume=resume, deadline=deadline):
            return False
        result.parent.mkdir(parents=True, exist_ok=True)
        document = measure(run, config, datasets[run.dataset], places)
        with whole_file(result) as file:
            file.write_text(json.dumps(document) + "\n", encoding="utf-8")
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)  # most of the run's bytes; nobody resumes it now
    return True


def measure(run: PlannedRun, config: Config, dataset: SearchDataset, places: Places) -> dict[str, Any]:
    """The result of a finished run: its settings, its provenance, and its metrics of full queries."""
    folder = places.runs / run.file_name
    trained = load_run(folder)
    device = "cuda" if trained.provenance["versions"]["cuda_device"] != "none" else "cpu"
    document: dict[str, Any] = {
        "plan": run.plan,
        "name": run.name,
        "title": run.title,
        "dataset": run.dataset,
        "seed": run.seed,
        "recipe": run.recipe,
        "settings": list(run.settings),
        "base": run.start_from,
        "config_sha256": hashlib.sha256((folder / CONFIG_FILE).read_bytes()).hexdigest(),
        "command": command_line(("python", "-m", "benchmarks.training.campaign", *sys.argv[1:])),
        "commit": commit(),
        "machine": machine(),
        "device": device,
        "trained_with": trained.provenance["versions"],
        "versions": versions(),
        "epochs": config.epochs,
        "epoch": trained.provenance["epoch"],
        "train_seconds": trained.provenance["train_seconds"],
        "validation": trained.provenance["validation"],
        "embedding_dim": trained.networks.embedding_dim,
        "is_pairwise": trained.networks.is_pairwise,
    }
    for name in MEASURES:
        wanted = name in run.measure and (name == "test" or config.data.validation_fraction > 0)
        document[name] = (
            _metrics(folder, dataset, places.cache, device, held_out=name == "held_out") if wanted else None
        )
    return document


def _metrics(folder: Path, dataset: SearchDataset, cache: Path, device: str, held_out: bool) -> dict[str, Any]:
    """Metrics of the cosine ranking; of each query AP, the rank of the first right image, if seen."""
    ranked = rank_run(load_run(folder), dataset, cache, torch.device(device), held_out)
    precision, first = rank_queries(ranked.scores, ranked.relevance)
    return {
        **summarise(precision, first, ranked.scores.shape[1], ranked.seen).to_json(),
        "average_precision": [round(float(value), 4) for value in precision],
        "first_rank": first.tolist(),
        "is_seen": ranked.seen.astype(int).tolist(),
    }


def main() -> int:
    """Carry out a plan; 0 if all runs have a result, 1 if something is wrong with it, 3 if time ran out first."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.campaign", description="Train and evaluate every run of a plan."
    )
    parser.add_argument("--plan", type=Path, required=True, help="TOML file; the top of campaign.py describes it")
    parser.add_argument("--data", type=Path, required=True, help="folder with Market-1501 and PETA")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the run folders")
    parser.add_argument("--results", type=Path, default=RESULTS / "training", help="folder for the result files")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="folder for decoded images")
    parser.add_argument(
        "--only", default="", help="regular expression; take the runs whose DATASET-NAME-seedN it matches"
    )
    parser.add_argument("--minutes", type=float, help="stop after the epoch in which this time has passed")
    options = parser.parse_args()
    started = time.monotonic()
    places = Places(options.data, options.runs, options.results, options.cache)
    deadline = None if options.minutes is None else started + 60 * options.minutes
    try:
        planned = [run for run in load_plan(options.plan) if re.search(options.only, run.file_name)]
        places.runs.mkdir(parents=True, exist_ok=True)
        return 0 if carry_out(planned, places, deadline) else 3
    except SalError as error:
        print(f"campaign: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
