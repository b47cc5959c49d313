"""The page on Table 1: the evidence of the grids, and tables of complete, partial and no results."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.speed.measurement import RESULTS
from benchmarks.training.campaign import PlannedRun, load_plan
from benchmarks.training.choose_settings import RECIPES
from docs.build.pages import render
from docs.build.table1 import (
    CHOICES,
    CONTROL,
    END_TO_END,
    FINAL_PLANS,
    MODELS,
    QUERIES,
    against_sal,
    ahead,
    beside_the_paper,
    chance,
    common_counts,
    comparable,
    end_to_end,
    fits,
    grid,
    is_measured,
    tried,
)
from docs.build.table1_plots import draw_table1_map, draw_table1_seen, table1_map, table1_seen
from docs.build.tables import PLANS
from sal_train.recipe import TABLE_1
from tests.docs.table1_results import write_test_result

OSNET = "table1-osnet"
GENERATOR = "table1-generator"
PUBLISHED = [row for row in json.loads((RESULTS / "published.json").read_text())["rows"] if row["table"] == 1]
FITTING = {
    484: {"ReViSE", "MMCC", "SAL (Ours)"},
    529: {"DeepCCAe", "CMCE", "AIHM", "SAL (Ours)"},
    200: {"ReViSE", "MMCC", "SAL (Ours)"},
}
"""Worked out apart from this code, by hand and with another program."""


def cells_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.copy(RESULTS / "published.json", tmp_path)
    for name in ("market1501", "peta"):
        path = Path("training", "ladder", f"{name}-full-seed1.json")
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize(("dataset", "count"), [(name, count) for name, counts in QUERIES.items() for count in counts])
def test_the_grids_of_the_published_rows(dataset: str, count: int) -> None:
    assert {row["model"] for row in PUBLISHED if row["dataset"] == dataset and fits(row, count)} == FITTING[count]


@pytest.mark.parametrize("count", [7, 200, 484, 529])
def test_printed_shares_fit_their_own_number_of_queries(count: int) -> None:
    """By brute force: every share that can be printed fits, and what no share gives does not."""
    shares = {f"{100 * hits / count:.1f}" for hits in range(count + 1)}
    for tenth in range(1001):
        row = dict.fromkeys(("rank1", "rank5", "rank10"), tenth / 10)
        halfway = any(abs(1000 * hits / count - tenth) == 0.5 for hits in range(count + 1))  # rounds either way
        assert fits(row, count) == (f"{tenth / 10:.1f}" in shares) or halfway
    assert chance(count) == pytest.approx((len(shares) / 1001) ** 3, rel=0.02)


def test_no_number_of_queries_fits_the_rows_of_peta_that_do_not_fit_ours() -> None:
    assert common_counts(RESULTS, "peta", 50, 799) == (
        "6 rows do not fit 200 queries, and from 50 to 799, no number fits all of them."
    )
    assert "and from 798 to 800, 800 would fit all of them." in common_counts(RESULTS, "peta", 798, 800)


def test_the_table_of_grids_has_every_row_of_the_paper() -> None:
    _, _, *rows = cells_of(grid(RESULTS))
    assert [row[0] for row in rows] == [*dict.fromkeys(MODELS.values()), "three random values"]
    assert rows[0][1:] == ["17.5 / 30.0 / 50.7 / 58.1", "no", "no", "11.5 / 14.4 / 20.8 / 26.3", "no"]
    assert rows[8][1:] == ["24.3 / 43.3 / 56.7 / 64.5", "no", "yes", "-", "-"]
    assert {name for _, name in {(row["dataset"], row["model"]) for row in PUBLISHED}} == set(MODELS.values())


def test_every_recipe_has_its_row_of_the_paper() -> None:
    assert list(MODELS) == list(RECIPES)


def test_our_row_beside_the_papers(results: Path) -> None:
    for seed, shift in ((1, 0.0), (2, 0.1), (3, 0.2)):
        write_test_result(results, OSNET, "market1501", "mmcc", seed, [0.1 + shift, 0.3 + shift], [1, 0])
    write_test_result(results, OSNET, "market1501", "aihm-like", 1, [0.5, 0.7], [0, 0])
    table = beside_the_paper(results, OSNET, "market1501")
    rows = {cells[0]: cells[1:] for cells in cells_of(table)[2:]}
    assert list(rows) == [f"`{name}`" for name in RECIPES]
    assert rows["`mmcc`"] == [
        "22.2 / 34.9",
        "yes",
        "F",
        "20",
        "30.0 ± 10.0 (3)",
        *["15.0 ± 5.0 (3)"] * 3,
        "20.0 ± 10.0 (3)",
        "40.0 ± 10.0 (3)",
        "200",
        "2,560 numbers by a cosine",
    ]
    assert rows["`aihm-like`"][:5] == ["24.3 / 43.3", "no", "F", "20", "60.0"]
    assert rows["`aihm-like`"][8:] == ["-", "60.0", "100", "2,560 numbers by a network"]
    assert set(rows["`dcca`"][2:]) == {"-"}
    assert "Not measured yet: `dcca`, `deepmar`," in table
    assert table.endswith("Computed on: EPYC.")


def test_a_row_of_other_settings_than_the_plans_is_named(results: Path) -> None:
    write_test_result(results, OSNET, "market1501", "mmcc", 1, [0.1], [1])
    write_test_result(results, OSNET, "market1501", "sal", 1, [0.1], [1], settings=["stages.0.frozen_trunk=true"])
    table = beside_the_paper(results, OSNET, "market1501")
    assert "Measured with other settings than the plan has now: `sal`." in table


def test_a_trunk_that_is_trained_is_another_regime(results: Path) -> None:
    settings = ["stages.0.frozen_trunk=false"]
    write_test_result(results, OSNET, "peta", "cmce-like", 1, [0.1], [0], settings=settings)
    write_test_result(results, OSNET, "peta", "sal", 1, [0.1], [0])
    rows = {cells[0]: cells[1:] for cells in cells_of(beside_the_paper(results, OSNET, "peta"))[2:]}
    assert (rows["`cmce-like`"][2], rows["`sal`"][2], rows["`paper`"][2]) == ("E", "F", "-")


def test_a_published_number_comes_out_again_within_two_standard_errors(results: Path) -> None:
    write_test_result(results, OSNET, "peta", "mmcc", 1, [0.299], [0])  # the paper has 33.9 and 33.5
    write_test_result(results, OSNET, "peta", "revise-like", 1, [0.2], [0])
    write_test_result(
        results, OSNET, "peta", "revise-like", 2, [0.6], [0]
    )  # a seed's error exceeds that of the queries
    write_test_result(results, OSNET, "peta", "dcca", 1, [0.115], [0])
    rows = {tuple(cells[:3]): cells[3:] for cells in cells_of(comparable(results))[2:]}
    assert rows["PETA", "`mmcc`", "OSNet"] == ["29.9 ± 2.0", "33.9", "yes", "14.9 ± 2.0", "33.5", "no"]
    assert rows["PETA", "`revise-like`", "OSNet"][:3] == ["40.0 ± 20.0", "31.1", "yes"]
    assert rows["PETA", "`sal`", "ImageNet"] == ["-", "41.2", "-", "-", "47.0", "-"]
    assert {name for _, name, _ in rows} == {"`revise-like`", "`mmcc`", "`paper`", "`sal`"}


def test_a_baseline_that_beats_sal_is_named(results: Path) -> None:
    assert against_sal(results, OSNET, "peta") == "* PETA, `paper`: not measured yet.\n* PETA, `sal`: not measured yet."
    for seed in (1, 2):
        write_test_result(results, OSNET, "peta", "sal", seed, [0.3, 0.5, 0.4], [0, 0, 0])
        write_test_result(results, OSNET, "peta", "paper", seed, [0.6, 0.6, 0.6], [0, 0, 0])
        write_test_result(results, OSNET, "peta", "cmce-like", seed, [0.4, 0.61, 0.5], [0, 0, 0])
        write_test_result(results, OSNET, "peta", "mmcc", seed, [0.9, 0.0, 0.31], [0, 0, 0])
        write_test_result(results, OSNET, "peta", "dcca", seed, [0.1, 0.1, 0.1], [0, 0, 0])
    write_test_result(results, OSNET, "peta", "deepmar", 3, [0.9, 0.9, 0.9], [0, 0, 0])  # no seed in common
    paper, sal = against_sal(results, OSNET, "peta").splitlines()
    assert paper == "* PETA, `paper`: no system exceeds its mAP (3 of 9 systems compared)."
    assert sal == (
        "* PETA, `sal`: exceeded in mAP by **`cmce-like` by 10.3 ± 0.3**, `mmcc` by 0.3 ± 32.1"
        " (3 of 9 systems compared)."
    )
    assert ahead(results, OSNET, "peta", "cmce-like", "sal") == "10.3 ± 0.3"
    assert ahead(results, OSNET, "peta", "sal", "cmce-like") == "-10.3 ± 0.3"
    assert ahead(results, OSNET, "peta", "deepmar", "sal") == "-"  # no seed in common
    for seed in (1, 2):
        write_test_result(results, GENERATOR, "peta", "linear-generator", seed, [0.6, 0.8, 0.7], [0, 0, 0])
    assert ahead(results, GENERATOR, "peta", "linear-generator", "sal", OSNET) == "30.0 ± 0.0"


def test_trained_trunks_stand_beside_frozen_ones(results: Path) -> None:
    for seed, value in ((1, 0.2), (2, 0.4)):
        write_test_result(results, OSNET, "peta", "deepmar", seed, [value, value], [0, 0])
    write_test_result(results, CONTROL, "peta", "deepmar", 1, [0.25, 0.25], [0, 0])
    assert end_to_end(results, "peta") == "Not measured yet."
    write_test_result(results, END_TO_END, "peta", "deepmar", 1, [0.5, 0.6], [0, 0])
    assert end_to_end(results, "market1501") == "Not measured yet."
    found = {cells[0]: cells[1:] for cells in cells_of(end_to_end(results, "peta"))[2:]}
    assert found["`deepmar`"][::2] == ["8", "15.0 ± 7.1 (2)", "12.5", "27.5"]
    assert found["`deepmar`"][1::2] == ["30.0 ± 14.1 (2)", "25.0", "55.0", "100"]
    assert found["`aihm-like`"] == ["8", *["-"] * 7]
    assert found["`paper`"][0] == "8"  # its pre-training leaves the trunk alone
    assert "other settings" not in end_to_end(results, "peta")
    write_test_result(results, CONTROL, "peta", "sal", 1, [0.1], [0], settings=[])
    assert "F, these epochs: Measured with other settings than the plan has now: `sal`." in (
        end_to_end(results, "peta")
    )
    assert set(found) - {"`deepmar-eight`", "`sal-eight`"} <= {f"`{name}`" for name in RECIPES}


def test_the_control_of_trained_trunks_differs_in_the_trunk_alone() -> None:
    trained, control = (
        {run.file_name: run for run in load_plan(PLANS / f"{name}.toml")} for name in (END_TO_END, CONTROL)
    )
    assert list(trained) == list(control)
    for name, run in trained.items():
        config, frozen = run.config(Path("runs")), control[name].config(Path("runs"))
        learns = any(stage.epochs and not stage.frozen_trunk for stage in config.stages)
        assert learns == bool(run.measure)  # others start from what is not measured
        for stage, other in zip(config.stages, frozen.stages, strict=True):
            rates = {network: rate for network, rate in stage.learning_rates.items() if network != "trunk"}
            kept = dataclasses.replace(
                stage, frozen_trunk=True, frozen_blocks=0, cache_frozen=False, learning_rates=rates
            )
            assert kept == other
        assert dataclasses.replace(config, stages=frozen.stages) == frozen


def write_choice(results: Path, run: PlannedRun, m_ap: float) -> None:
    folder = results / "training" / run.plan
    folder.mkdir(parents=True, exist_ok=True)
    measured = {"mAP": m_ap, "standard_error": {"mAP": 0.02}, "num_queries": 189}
    (folder / f"{run.file_name}.json").write_text(json.dumps({"held_out": measured}))


def test_the_chosen_setting_is_bold_once_all_of_a_system_are_measured(results: Path) -> None:
    planned = [run for run in load_plan(CHOICES) if run.recipe in ("paper", "sal")]
    for run in planned:
        if run.name == "sal-12-dropout":
            continue
        write_choice(results, run, 0.4 if run.name in ("paper-30", "sal-12-no-unseen") else 0.3)
    table = tried(results)
    found = {cells[1]: cells[2] for cells in cells_of(table)[2:] if cells[0] in ("`paper`", "`sal`")}
    assert found["5, 15 and 12 epochs"] == "30.0 ± 2.0"
    assert found["5, 30 and 12 epochs"] == "**40.0 ± 2.0**"
    assert found["12 and 12 epochs, without unseen descriptions"] == "40.0 ± 2.0"
    assert found["12 and 12 epochs, dropout 0.7"] == "-"
    count = len(load_plan(CHOICES))
    assert table.endswith(f"\n\n{count - len(planned) + 1} of {count} trainings are not measured yet.")


def write_choices(results: Path) -> None:
    for number, run in enumerate(load_plan(CHOICES)):
        write_choice(results, run, 0.2 + 0.001 * number)


def write_everything(results: Path) -> None:
    write_choices(results)
    for plan in FINAL_PLANS:
        for number, recipe in enumerate(RECIPES):
            for seed in (1, 2, 3):
                value = 0.1 + 0.02 * number + 0.01 * seed
                write_test_result(results, plan, "market1501", recipe, seed, [value, value / 2], [1, 0])
                write_test_result(results, plan, "peta", recipe, seed, [value, value / 2], [0, 0])
    for plan in (CONTROL, END_TO_END):
        for run in load_plan(PLANS / f"{plan}.toml"):
            if run.measure:
                write_test_result(results, plan, run.dataset, run.name, run.seed, [0.3, 0.4], [0, 0])


def test_the_page_without_any_result(results: Path) -> None:
    page = render("docs/table1.md", results=results)
    assert "**No system is measured on a test split yet.**" in page
    assert page.count("None of our rows is measured yet.") == 4
    assert ".svg" not in page
    assert "What surprised:" not in page
    assert not is_measured(results)
    assert not table1_map(results)
    assert not table1_seen(results)


def test_the_page_with_some_results(results: Path) -> None:
    write_choices(results)
    write_test_result(results, OSNET, "peta", "dcca", 1, [0.2, 0.4], [0, 0])
    page = render("docs/table1.md", results=results)
    assert "images/table1_map.svg" in page
    assert "images/table1_seen.svg" not in page  # PETA has no seen categories
    assert page.count("None of our rows is measured yet.") == 3
    assert page.count("What surprised:") == 1
    assert is_measured(results, "dcca")
    assert not is_measured(results, "sal")


def test_the_page_with_all_results(results: Path) -> None:
    write_everything(results)
    page = render("docs/table1.md", results=results)
    assert "ot measured yet" not in page
    assert page.count("What surprised:") == len(RECIPES) - 1  # one for both recipes of SAL
    dashes = {
        cells[0]: cells.count("-") for cells in cells_of(page.partition("### PETA, OSNet")[2].partition("##")[0])[2:]
    }
    assert dashes == {f"`{name}`": 1 + 2 * (name == "aihm-like") for name in RECIPES}  # no seen queries; no row of AIHM
    assert all(f"images/{name}.svg" in page for name in ("table1_map", "table1_seen"))
    assert "exceeded in mAP" not in page  # the recipes of SAL are last, and best, in these made up numbers
    assert page.count(f"({len(TABLE_1)} of {len(TABLE_1)} systems compared)") == 8


def test_pictures_show_what_is_measured(results: Path) -> None:
    write_test_result(results, OSNET, "peta", "aihm-like", 1, [0.2, 0.4], [0, 0])
    write_test_result(results, OSNET, "market1501", "mmcc", 1, [0.2, 0.4], [1, 0])
    write_test_result(results, OSNET, "market1501", "mmcc", 2, [0.1, 0.3], [1, 0])
    panels = table1_map(results)
    assert list(panels) == ["Market-1501, OSNet", "PETA, OSNet"]
    (mmcc,) = panels["Market-1501, OSNet"].values()
    assert mmcc == {"mAP": [pytest.approx(0.3), pytest.approx(0.2)], "paper": 22.2, "fits": True}
    assert panels["PETA, OSNet"]["aihm-like"] == {"mAP": [pytest.approx(0.3)], "paper": None, "fits": False}
    assert table1_seen(results) == {"Market-1501, OSNet": {"mmcc": {"seen": [0.2, 0.1], "unseen": [0.4, 0.3]}}}


@pytest.mark.parametrize(("panels_of", "draw"), [(table1_map, draw_table1_map), (table1_seen, draw_table1_seen)])
def test_every_point_is_inside_the_picture(results: Path, panels_of: Any, draw: Any) -> None:
    from matplotlib.figure import Figure

    write_everything(results)
    trained = {run.name for run in load_plan(PLANS / f"{END_TO_END}.toml")}
    for title, panel in panels_of(results).items():
        names = [name for name in RECIPES if name in trained or not title.endswith("trained")]
        axes = Figure().add_subplot()
        draw(axes, panel)
        drawn = [line.get_xydata() for line in axes.lines if len(line.get_xdata())]
        x, y = np.concatenate(drawn).T
        assert 0 == axes.get_xlim()[0] <= x.min() <= x.max() <= axes.get_xlim()[1]
        assert set(y) == set(range(len(names)))
        assert [label.get_text() for label in axes.get_yticklabels()] == names
        wanted = [100 * value for system in panel.values() for value in _means(system)]
        assert all(np.isclose(x, value).any() for value in wanted)


def _means(system: dict[str, Any]) -> list[float]:
    return [sum(values) / len(values) for values in system.values() if isinstance(values, list)]
