"""The report after training, read as a browser would."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from sal_runtime.errors import InputError
from sal_train.checkpoint import METRICS_FILE, load_run
from sal_train.datasets.splits import SearchDataset
from sal_train.evaluation.evaluate import Options, evaluate_run
from sal_train.evaluation.metrics import random_metrics
from sal_train.report.curves import line_chart
from sal_train.report.measure import history, measure_held_out
from sal_train.report.page import render_report
from sal_train.report.write import REPORT_FILE, write_report
from sal_train.train import train
from tests.train.tiny_training import tiny_config, tiny_dataset

PHASES = ("embed_image", "embed_attribute")


class Page(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "polyline", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SearchDataset:
    return tiny_dataset(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def run(dataset: SearchDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that holds two of eight categories out."""
    out = tmp_path_factory.mktemp("runs") / "my <run>"
    data = {"validation_fraction": 0.25, "validate_every": 1}
    assert train(tiny_config(PHASES, 3, data=data), dataset, out, out.parent / "cache")
    return out


@pytest.fixture(scope="module")
def page(run: Path, dataset: SearchDataset) -> Page:
    verdict = write_report(run, dataset, run.parent / "cache")
    text = (run / REPORT_FILE).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert verdict in page.text
    return page


def test_the_page_needs_nothing_and_runs_nothing(run: Path, page: Page) -> None:
    text = (run / REPORT_FILE).read_text(encoding="utf-8")
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert "my <run>" in page.text  # and not a tag


def test_curves_show_every_epoch_and_the_one_that_was_saved(run: Path, page: Page) -> None:
    assert len(page.all("svg")) == 3
    assert [len((line["points"] or "").split()) for line in page.all("polyline")] == [3, 3, 3]
    assert f"epoch {load_run(run).provenance['epoch']}, whose model was saved" in page.text
    assert len(history(run)) == 3


def test_numbers_are_those_of_the_evaluation(run: Path, dataset: SearchDataset, page: Page) -> None:
    held_out = measure_held_out(load_run(run), dataset, run.parent / "cache", "cpu")
    assert held_out is not None
    options = Options(run.parent / "cache", partial=False, held_out=True)
    report = evaluate_run(run, dataset, options, Console(quiet=True))
    for metric in ("mAP", "rank1", "rank5", "num_queries"):
        assert held_out.metrics[metric] == pytest.approx(report[metric])
    assert held_out.recognition == report["recognition"]
    assert held_out.metrics["random"] == random_metrics(np.array([5, 5]), 10) == report["random"]
    for name in dataset.schema.bit_names:
        assert name in page.text
    assert "female ◆" in page.text
    assert "hat ◆" not in page.text


def test_sheets_show_the_hits_of_the_best_and_the_worst_query(run: Path, dataset: SearchDataset, page: Page) -> None:
    held_out = measure_held_out(load_run(run), dataset, run.parent / "cache", "cpu")
    assert held_out is not None
    assert (len(held_out.best), len(held_out.worst)) == (1, 1)
    assert held_out.best[0].precision >= held_out.worst[0].precision
    images = [image["src"] or "" for image in page.all("img")]
    assert len(images) == 16
    first = np.frombuffer(base64.b64decode(images[0].partition(",")[2]), np.uint8)
    shown = cv2.imdecode(first, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
    assert np.abs(shown - held_out.best[0].hits[0]).mean() < 30
    right = sum(bool(query.is_right[hit]) for query in (*held_out.best, *held_out.worst) for hit in range(8))
    assert [image["alt"] for image in page.all("img")].count("hit 1, right") <= 2
    assert sum((image["alt"] or "").endswith("right") for image in page.all("img")) == right


def test_commands_to_go_on_can_be_copied(run: Path, page: Page) -> None:
    assert f"sal eval --run '{run}' --dataset tiny" in page.text
    assert "sal export --run" in page.text


def test_a_run_that_held_nothing_out_says_so(dataset: SearchDataset, tmp_path: Path) -> None:
    assert train(tiny_config(PHASES, 1), dataset, tmp_path / "run", tmp_path / "cache")
    assert write_report(tmp_path / "run", dataset, tmp_path / "cache").startswith("not measured")
    page = Page((tmp_path / "run" / REPORT_FILE).read_text(encoding="utf-8"))
    assert "NOT MEASURED: this run held no categories out" in page.text
    assert page.all("img") == []
    assert len(page.all("svg")) == 1


def test_an_unfinished_run_has_no_report(dataset: SearchDataset, tmp_path: Path) -> None:
    assert train(tiny_config(PHASES, 2), dataset, tmp_path / "run", tmp_path / "cache")
    log = tmp_path / "run" / METRICS_FILE
    log.write_text(log.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"not finished \(1 of 2 epochs"):
        write_report(tmp_path / "run", dataset, tmp_path / "cache")
    assert not (tmp_path / "run" / REPORT_FILE).exists()


def test_charts_of_one_point_or_of_none() -> None:
    assert line_chart("loss", "", [], []) == ""
    assert line_chart("loss", "", [1, 2], [float("nan"), float("inf")]) == ""
    chart = Page(line_chart("a<b", "%", [1], [5.0], 1))
    assert len(chart.all("circle")) == 1
    assert "a<b" in chart.text


def test_a_weak_model_gets_advice(run: Path, dataset: SearchDataset) -> None:
    held_out = measure_held_out(load_run(run), dataset, run.parent / "cache", "cpu")
    assert held_out is not None
    guessing = {
        name: rates | {"balanced_accuracy": 0.5, "standard_error": 0.1, "people": 9}
        for name, rates in held_out.recognition["by_attribute"].items()
    }
    bad = replace(held_out, recognition=dict(held_out.recognition) | {"by_attribute": guessing})
    text = render_report(load_run(run), history(run), bad, [])
    assert "needs more people who have it, or should be left out" in text
    assert "sal data check names what is rare" in text
