"""The plot as a file: well-formed, the same for the same numbers, with everything a reader needs in words."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sal_cli.bench.engine import Contender, Row
from sal_cli.bench.timing import Timing
from sal_cli.show import plots
from sal_cli.show.plots import check_plot, draw_latency_plot
from sal_runtime.bundle.bundle import IMAGE_ROLE
from sal_runtime.errors import ConfigError

SVG = "{http://www.w3.org/2000/svg}"


def row(artefact: str, device: str, batch_size: int, latency_ms: float) -> Row:
    contender = Contender(IMAGE_ROLE, artefact, "fp32", device, f"library of {device}", lambda batch: batch)
    return Row(contender, batch_size, Timing([latency_ms] * 4, 4 * latency_ms / 1000), None)


def test_every_encoder_batch_size_and_unit_is_named() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    rows = [
        row("image_encoder.onnx", device, size, 3.0 * size) for device in ("cpu", "cuda", "trt") for size in (7, 19)
    ]
    svg = draw_latency_plot(rows, "the title", "the footer")
    assert draw_latency_plot(rows, "the title", "the footer") == svg
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    # text is drawn as outlines, so that it looks the same everywhere; the words are in comments
    words = re.findall(r"<!-- (.*?) -->", svg.decode(), flags=re.DOTALL)
    for expected in ("the title", "the footer", "images per second", "7", "19"):
        assert expected in words
    assert [word for word in words if word.startswith("median latency of a batch, ms")]
    assert words.count("image_encoder") == 3
    assert words.count("7") == 3
    # the two that compute on the GPU share a panel
    panels = [group.get("id") for group in root.iter(f"{SVG}g") if str(group.get("id")).startswith("axes_")]
    assert panels == ["axes_1", "axes_2"]


def test_a_plot_that_cannot_be_drawn_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.svg"):
        check_plot(Path("plot.png"))
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "\.\[plot\]"'):
        check_plot(Path("plot.svg"))
