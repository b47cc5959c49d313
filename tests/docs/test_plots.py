"""The plots of the documents show the numbers of the result files."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.measurement import RESULTS
from docs.build.plots import IMAGES, PLOTS, accuracy_latency, draw, partial_queries, stamp
from sal_runtime.errors import InputError
from tests.docs.table1_results import write_test_result

REPORT = next(RESULTS.rglob("eval_market1501_edge.json"))
"""A report with everything that plots show, wherever it is kept."""


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.svg")), ids=lambda path: path.stem)
def test_plots_show_the_result_files(path: Path) -> None:
    panels_of, _ = PLOTS[path.stem]
    assert stamp(panels_of(RESULTS)) in path.read_text(encoding="utf-8"), "python -m docs.build"


def speed_row(fingerprint: str, precision: str, latency: float, throughput: float) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "precision": precision,
        "latency_ms": {"median": latency},
        "images_per_second": {"median": throughput},
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    rows = [
        speed_row("edge's", "fp32", 2.0, 500.0),
        speed_row("edge's", "int8", 1.0, 900.0),
        speed_row("older", "fp32", 9.0, 90.0),
    ]
    (tmp_path / "bundle_speed.json").write_text(json.dumps({"machine": {"cpu": "EPYC"}, "rows": rows}))
    for file in ("feedback.json", "published.json"):
        (tmp_path / file).write_text((RESULTS / file).read_text())
    for seed in (1, 2):
        for recipe in ("dcca", "revise-like"):
            write_test_result(tmp_path, "table1-osnet", "market1501", recipe, seed, [0.2, 0.1 * seed], [1, 0])
    report = json.loads(REPORT.read_text())
    report["record"]["subject"]["fingerprint"] = "edge's"
    (tmp_path / "eval_edge.json").write_text(json.dumps(report))
    report["record"]["subject"] |= {"fingerprint": "another's", "name": "other"}
    (tmp_path / "eval_other.json").write_text(json.dumps(report))
    return tmp_path


def test_every_machine_that_was_timed_has_panels_of_its_own(results: Path) -> None:
    rows = [speed_row("another's", "fp32", 3.0, 300.0)]
    (results / "bundle_speed_xeon.json").write_text(json.dumps({"machine": {"cpu": "Xeon"}, "rows": rows}))
    panels = accuracy_latency(results)
    assert {title: list(panel) for title, panel in panels.items()} == {
        "Market-1501, on EPYC": ["edge, fp32"],
        "Market-1501, on Xeon": ["other, fp32"],
    }


def test_accuracy_and_latency_are_of_the_same_bundle_and_precision(results: Path) -> None:
    report = json.loads(REPORT.read_text())
    panels = accuracy_latency(results)
    assert list(panels) == ["Market-1501, on EPYC"]
    assert list(panels["Market-1501, on EPYC"]) == ["edge, fp32"]
    drawn = panels["Market-1501, on EPYC"]["edge, fp32"]
    assert drawn == {
        "latency_ms": 2.0,
        "throughput": 500.0,
        "mAP": report["mAP"],
        "error": report["standard_error"]["mAP"],
    }


def test_a_bundle_of_two_data_sets_is_a_point_for_each_in_the_order_of_search(results: Path) -> None:
    path = results / "eval_edge.json"
    report = json.loads(path.read_text())
    parts = {name: {"mAP": mAP, "standard_error": {"mAP": 0.01}} for name, mAP in (("market1501", 0.4), ("peta", 0.6))}
    path.write_text(json.dumps(report | {"match": {"mAP": 0.5, "by_source": parts}}))
    panels = accuracy_latency(results)
    found = {title: panel["edge, fp32"]["mAP"] for title, panel in panels.items()}
    assert found == {"Market-1501, on EPYC": 0.4, "PETA, on EPYC": 0.6}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_svg_and_the_same_for_the_same_numbers(results: Path, name: str) -> None:
    panels_of, draw_panel = PLOTS[name]
    panels = panels_of(results)
    plot = draw(panels, draw_panel)
    assert xml.etree.ElementTree.fromstring(plot).tag.endswith("svg")
    assert stamp(panels).encode() in plot
    assert draw(panels, draw_panel) == plot


def test_two_reports_of_one_bundle_are_an_error(results: Path) -> None:
    (results / "eval_once_more.json").write_text((results / "eval_edge.json").read_text())
    with pytest.raises(InputError, match=r"eval_once_more\.json and an earlier file both report edge, fp32"):
        partial_queries(results)


def test_a_plot_without_numbers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no result file"):
        draw(partial_queries(tmp_path), PLOTS["partial_queries"][1])
