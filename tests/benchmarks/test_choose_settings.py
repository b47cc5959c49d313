"""Settings are chosen by held-out mAP, and the plans with them can be carried out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.training import choose_settings
from benchmarks.training.campaign import PlannedRun, load_plan
from benchmarks.training.choose_settings import RECIPES, final_plan, rank_choices, write_plans
from docs.build.tables import PLANS
from sal_runtime.errors import InputError
from sal_train.recipe import load_config

CHOICES = PLANS / "table1-choices.toml"


def write_result(results: Path, run: PlannedRun, m_ap: float) -> None:
    folder = results / run.plan
    folder.mkdir(parents=True, exist_ok=True)
    measured = {"mAP": m_ap, "standard_error": {"mAP": 0.02}, "num_queries": 189}
    (folder / f"{run.file_name}.json").write_text(json.dumps({"held_out": measured}))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["choose_settings", *map(str, arguments)])
    return choose_settings.main()


def test_no_recipe_of_table_1_has_more_than_twelve_tries() -> None:
    tries = Counter(run.recipe for run in load_plan(CHOICES))
    assert set(tries) == set(RECIPES)
    assert max(tries.values()) <= 12


def test_every_try_holds_out_the_same_categories_and_measures_only_them() -> None:
    for run in load_plan(CHOICES):
        config = run.config(Path("runs"))
        assert (config.data.validation_fraction, config.data.validation_seed) == (0.1, 1), run.name
        assert run.measure == ("held_out",)
        assert (config.model.backbone, config.model.last_stride, config.model.stripes) == ("osnet_0277", 2, 4), run.name
        assert all(stage.frozen_trunk for stage in config.stages), run.name


def test_the_best_held_out_map_is_first(tmp_path: Path) -> None:
    planned = [run for run in load_plan(CHOICES) if run.recipe in ("dcca", "sal")]
    for run in planned:
        if run.recipe == "dcca" and run.name != "dcca-64-ridge":
            write_result(tmp_path, run, 0.5 if run.name == "dcca-64" else 0.4)
    ranked, missing = rank_choices(planned, tmp_path)
    assert list(ranked) == ["dcca"]
    names = [one.run.name for one in ranked["dcca"]]
    assert names == [
        *("dcca-64", "dcca-16", "dcca-32", "dcca-32-power", "dcca-64-power", "dcca-64-linear"),
        *("dcca-half", "dcca-quarter", "dcca-eighth", "dcca-sixteenth", "dcca-double"),
    ]
    assert ranked["dcca"][0].m_ap == 0.5
    assert {run.name for run in missing} == {"dcca-64-ridge", *(run.name for run in planned if run.recipe == "sal")}


def test_a_try_without_held_out_categories_is_an_error(tmp_path: Path) -> None:
    run = load_plan(CHOICES)[0]
    write_result(tmp_path, run, 0.5)
    (tmp_path / run.plan / f"{run.file_name}.json").write_text('{"held_out": null}')
    with pytest.raises(InputError, match="has no held-out categories"):
        rank_choices([run], tmp_path)


@pytest.mark.parametrize("last", [False, True], ids=["first try", "last try"])
def test_the_written_plans_train_the_chosen_settings_on_both_trunks(tmp_path: Path, last: bool) -> None:
    chosen = {run.recipe: run for run in load_plan(CHOICES)[:: 1 if last else -1]}
    for path in write_plans(list(chosen.values()), tmp_path):
        runs = load_plan(path)
        assert len({run.file_name for run in runs}) == len(runs) == 2 * len(RECIPES) * 3
        for run in runs:
            choice = chosen[run.name]
            assert (run.recipe, run.title, run.measure) == (run.name, choice.title, ("test",))
            config, tried = run.config(Path("runs")), choice.config(Path("runs"))
            assert config.data.validation_fraction == 0
            model = config.model
            trunk = load_config("sal", choose_settings.IMAGENET).model if "imagenet" in path.name else tried.model
            for key in ("backbone", "weights", "last_stride", "height", "width", "stripes"):
                assert getattr(model, key) == getattr(trunk, key), (path.name, run.file_name, key)
            assert config.run.seed == run.seed
            assert (config.system, config.stages, config.losses) == (tried.system, tried.stages, tried.losses)
            assert (model.embedding_dim, model.dropout) == (tried.model.embedding_dim, tried.model.dropout)
    assert {path.name for path in tmp_path.iterdir()} == {"table1-osnet.toml", "table1-imagenet.toml"}


def test_the_imagenet_trunk_is_that_of_the_ladder() -> None:
    ladder = load_plan(PLANS / "ladder-paper-imagenet.toml")[0].config(Path("runs")).model
    ours = load_config("paper", choose_settings.IMAGENET).model
    assert ours == replace(ladder, stripes=0)


def test_a_choice_that_starts_from_another_run_is_refused() -> None:
    ladder = load_plan(PLANS / "ladder-paper-imagenet.toml")
    with pytest.raises(InputError, match="starts from peta-pretrained-seed1"):
        final_plan([run for run in ladder if run.name == "full"], (), "note")


def test_missing_results_are_named_and_nothing_is_written_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path, load_plan(CHOICES)[0], 0.123)
    arguments = ("--plan", CHOICES, "--results", tmp_path, "--write", tmp_path)
    assert call(monkeypatch, *arguments) == 3
    printed = capsys.readouterr()
    assert "*  12.3 ± 2.0  dcca-16 " in printed.out
    assert "no result: peta-sal-12-seed1" in printed.err
    assert not list(tmp_path.glob("*.toml"))
    assert call(monkeypatch, *arguments, "--partial") == 0
    assert "not in the plans: sal\n" in capsys.readouterr().err
    assert [run.file_name for run in load_plan(tmp_path / "table1-osnet.toml")] == [
        f"{dataset}-dcca-seed{seed}" for dataset in ("peta", "market1501") for seed in (1, 2, 3)
    ]
