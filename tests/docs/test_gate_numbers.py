"""The numbers in docs/bundle.md that were simulated or measured are those of the committed results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.speed.measurement import RESULTS
from sal_export.gates.parity import LIMITS
from sal_export.gates.retrieval import ENOUGH_QUERIES, MAX_LOSS

TEXT = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")


def table_after(heading: str) -> list[list[str]]:
    """The cells of the first table behind some words, without the line of dashes."""
    lines = TEXT[TEXT.index(heading) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def result(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return document


def test_error_rates_are_the_simulated_ones() -> None:
    expected = []
    by_name = {name: result(f"gate_error_rates_{name}")["rows"] for name in ("edge", "drawn")}
    for edge, drawn in zip(by_name["edge"], by_name["drawn"], strict=True):
        assert (edge["queries"], edge["true_loss"]) == (drawn["queries"], drawn["true_loss"])
        rates = [f"{100 * row[key]:.0f}" for row in (edge, drawn) for key in ("gate", "limits_alone")]
        expected.append([str(edge["queries"]), f"{100 * edge['true_loss']:.0f}", *rates])
    assert table_after("How often an int8 encoder passes")[1:] == expected


def test_losses_without_vnni_are_the_measured_ones() -> None:
    measured = result("int8_without_vnni")
    assert f"{measured['Haswell']['crops']:,} crops and {measured['Haswell']['queries']} queries" in TEXT
    rows = table_after("### int8 on processors without VNNI")[1:]
    values = {"mean": (1, 4), "min": (1, 4), "mAP_lost": (100, 2), "rank1_lost": (100, 2)}
    pairs = [(session, value) for session in ("default", "exact") for value in values]
    for (session, value), row in zip(pairs, rows, strict=True):
        times, digits = values[value]
        expected = [f"{times * measured[name][session][value]:.{digits}f}" for name in ("with VNNI", "Haswell")]
        assert row[1:] == expected


def test_without_vnni_int8_stays_within_half_of_the_gate() -> None:
    lost = result("int8_without_vnni")["Haswell"]["exact"]
    assert lost["mAP_lost"] < MAX_LOSS["int8"] / 2
    assert lost["rank1_lost"] < MAX_LOSS["int8"] / 2


def test_limits_are_those_of_the_code() -> None:
    rows = {row[0]: row[1:] for row in table_after("## The gate")}
    for column, precision in enumerate(rows[""]):
        limits = LIMITS[precision]  # type: ignore[index]
        stated = [rows[name][column] for name in list(rows)[1:]]
        loss = MAX_LOSS.get(precision)
        wanted = [limits.max_abs, limits.min_cosine, limits.p1_cosine, limits.mean_cosine, limits.top10_agreement]
        wanted.append(None if loss is None else 100 * loss)
        assert [None if cell == "-" else float(cell) for cell in stated] == wanted
    assert f"**{ENOUGH_QUERIES} queries or more**" in TEXT
