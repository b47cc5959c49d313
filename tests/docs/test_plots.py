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

REPORT = next(RESULTS.rglob("eval_market1501_edge.json"))
"""A report with everything that plots show, wherever it is kept."""


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.svg")), ids=lambda path: path.stem)
def test_plots_show_the_result_files(path: Path) -> None:
    panels_of, _ = PLOTS[path.stem]
    assert stamp(panels_of(RESULTS)) in path.read_text(encoding="utf-8"), "python -m docs.build"


def engine_row(precision: str, batch: int, latency: float, throughput: float) -> dict[str, Any]:
    return {
        "artefact": f"image_encoder.{precision}.onnx",
        "precision": precision,
        "device": "cpu",
        "engine": "onnxruntime",
        "batch": batch,
        "latency_ms": {"median": latency},
        "throughput": throughput,
    }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    bench = {
        "machine": {"cpu": "EPYC"},
        "bundle": {"fingerprint": "edge's"},
        "rows": [
            engine_row("fp32", 1, 2.0, 500.0),
            engine_row("fp32", 16, 20.0, 800.0),
            engine_row("int8", 1, 1.0, 900.0),
        ],
    }
    report = json.loads(REPORT.read_text())
    report["record"]["subject"]["fingerprint"] = "edge's"
    (tmp_path / "eval_edge.json").write_text(json.dumps(report))
    report["record"]["subject"] |= {"fingerprint": "another's", "name": "other"}
    (tmp_path / "eval_other.json").write_text(json.dumps(report))
    (tmp_path / "engine_edge.json").write_text(json.dumps(bench))
    return tmp_path


def test_accuracy_and_latency_are_of_the_same_bundle_and_precision(results: Path) -> None:
    report = json.loads(REPORT.read_text())
    point = {"latency_ms": 2.0, "throughput": 800.0, "batch": 16, "mAP": report["mAP"]}
    panels = accuracy_latency(results)
    assert list(panels) == ["Market-1501, on EPYC (cpu)"]
    assert list(panels["Market-1501, on EPYC (cpu)"]) == ["edge, fp32"]
    drawn = panels["Market-1501, on EPYC (cpu)"]["edge, fp32"]
    assert {key: drawn[key] for key in point} == point


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
