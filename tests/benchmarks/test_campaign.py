"""Plans of many trainings: which runs they name, and that each leaves one result, whatever interrupts it."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from benchmarks.training import campaign
from benchmarks.training.campaign import Places, PlannedRun, carry_out, load_plan
from sal_runtime.errors import ConfigError
from sal_train.checkpoint import CHECKPOINT_FILE, load_run
from tests.train.tiny_training import tiny_dataset

TINY = """
seeds = [1, 2]
datasets = ["tiny"]
recipe = "paper"
settings = [
  "model.backbone=efficientnet_lite0", "model.weights=none", "model.height=32", "model.width=16",
  "model.feature_dim=12", "model.embedding_dim=8", "model.noise_dim=4", "data.batch_size=8", "run.device=cpu",
  "data.validation_fraction=0.25", "data.validate_every={seed}", "stages.0.epochs=0", "stages.1.epochs=1",
  "stages.2.epochs=0",
]

[[runs]]
name = "base"
title = "Joint"
seeds = [1]

[[runs]]
name = "more"
start_from = "base"
measure = ["test"]
settings = ["stages.1.frozen_trunk=true"]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    dataset = tiny_dataset(tmp_path)
    monkeypatch.setattr(campaign, "load_dataset", lambda name, data: dataset)
    return Places(tmp_path, tmp_path / "runs", tmp_path / "results", tmp_path / "cache")


def test_a_plan_names_its_runs(plan: Path) -> None:
    runs = load_plan(plan)
    assert [run.file_name for run in runs] == ["tiny-base-seed1", "tiny-more-seed1", "tiny-more-seed2"]
    assert [run.start_from for run in runs] == [None, "tiny-base-seed1", "tiny-base-seed1"]
    assert [run.title for run in runs] == ["Joint", "more", "more"]
    assert [run.measure for run in runs] == [("held_out", "test"), ("test",), ("test",)]
    config = runs[2].config(Path("runs"))
    assert (config.run.seed, config.run.start_from) == (2, "runs/tiny-base-seed1")
    assert config.stages[1].frozen_trunk
    assert config.data.validate_every == 2
    assert not runs[0].config(Path("runs")).stages[1].frozen_trunk


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colour = 1\n[[runs]]\nname = "a"', "unknown key 'colour'"),
        ('[[runs]]\nname = "a"\nsize = 1', "unknown key 'size' of a run"),
        ('[[runs]]\nname = "a"\nmeasure = ["train"]', "measure 'train'; known: held_out, test"),
        ('[[runs]]\nname = "a"\nstart_from = "b"', "starts from 'b', which is not defined before it for peta"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(f'seeds = [1]\ndatasets = ["peta"]\nrecipe = "sal"\n{text}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_plan(path)


def test_every_run_leaves_a_result_and_is_not_made_twice(plan: Path, places: Places) -> None:
    runs = load_plan(plan)
    assert carry_out(runs, places)
    results = {path.stem: json.loads(path.read_text()) for path in (places.results / "small").iterdir()}
    assert sorted(results) == [run.file_name for run in runs]
    base, more = results["tiny-base-seed1"], results["tiny-more-seed2"]
    assert base["held_out"]["num_queries"] == 2
    assert (base["embedding_dim"], base["is_pairwise"]) == (8, False)
    assert base["test"]["num_queries"] == 4
    assert len(base["test"]["first_rank"]) == 4
    assert base["test"]["is_seen"] == [0, 0, 0, 0]
    assert sum(base["test"]["average_precision"]) / 4 == pytest.approx(base["test"]["mAP"], abs=1e-4)
    assert more["held_out"] is None
    assert (more["base"], more["seed"], more["epochs"]) == ("tiny-base-seed1", 2, 1)
    assert 0 < base["test"]["mAP"] <= 1
    assert results["tiny-more-seed1"]["config_sha256"] != more["config_sha256"]
    assert not list(places.runs.glob(f"*/{CHECKPOINT_FILE}"))  # nobody resumes a run that has its result
    written = {path: path.stat().st_mtime_ns for path in (places.results / "small").iterdir()}
    assert carry_out(runs, places)
    assert written == {path: path.stat().st_mtime_ns for path in (places.results / "small").iterdir()}


def test_time_that_runs_out_leaves_what_the_next_call_goes_on_with(plan: Path, places: Places) -> None:
    runs = [_with_epochs(run, 2) for run in load_plan(plan)[:1]]
    assert not carry_out(runs, places, deadline=time.monotonic() + 0.001)
    assert not list(places.results.glob("*/*"))
    for _ in range(4):
        if carry_out(runs, places, deadline=time.monotonic() + 0.001):
            break
    (result,) = places.results.glob("*/*")
    assert json.loads(result.read_text())["epochs"] == 2
    assert load_run(places.runs / "tiny-base-seed1").provenance["epochs"] == 2


def _with_epochs(run: PlannedRun, epochs: int) -> PlannedRun:
    return dataclasses.replace(run, settings=(*run.settings, f"stages.1.epochs={epochs}"))


def test_weights_that_are_missing_are_named_in_one_line(
    plan: Path, places: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.write_text(TINY.replace("model.weights=none", "model.weights=gone.safetensors"), encoding="utf-8")
    folders = [f"--{name}={getattr(places, name)}" for name in ("data", "runs", "results", "cache")]
    monkeypatch.setattr("sys.argv", ["campaign", f"--plan={plan}", *folders])
    assert campaign.main() == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("campaign: ")
    assert "gone.safetensors" in last
