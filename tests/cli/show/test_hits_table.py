"""The table of hits, by its columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from sal_cli.show.hits_table import hits_table
from sal_runtime.matching.result import SearchResult
from tests.runtime.made_up_result import made_up_result

NOON = 1_795_608_000.0
"""2026-11-25 12:00:00 UTC."""


def seen(result: SearchResult, *moments: float | None, camera: str | None = None) -> SearchResult:
    """The result with the times and the camera of its hits."""
    items = [
        replace(hit.item, captured_at=moment, camera=camera) for hit, moment in zip(result.hits, moments, strict=True)
    ]
    return replace(result, hits=tuple(replace(hit, item=item) for hit, item in zip(result.hits, items, strict=True)))


def columns(result: SearchResult, width: int | None) -> tuple[dict[str, list[str]], list[str]]:
    made, legend = hits_table(result, width)
    return {str(column.header): [str(cell) for cell in column.cells] for column in made.columns}, legend


def test_match_is_the_first_number_and_the_score_is_not_shown(tmp_path: Path) -> None:
    shown, legend = columns(made_up_result(tmp_path), 100)
    assert list(shown) == ["#", "match", "image", "male ◆", "upper-colour red or blue"]
    assert shown["match"] == ["75%", "75%", "75%", "-"]
    assert legend == ["match: likelihood of the whole description; beside it: of each word alone"]


def test_a_bundle_without_calibration_shows_the_score(tmp_path: Path) -> None:
    result = made_up_result(tmp_path)
    shown, (legend,) = columns(replace(result, hits=tuple(replace(hit, likelihood=None) for hit in result.hits)), 100)
    assert shown["score"] == ["0.900", "0.800", "0.700", "0.600"]
    assert "not calibrated" in legend


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the local time zone."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "short", "cell"),
    [("UTC", "UTC", "12:00:00"), ("Europe/Berlin", "CET", "13:00:00"), ("Asia/Kolkata", "IST", "17:30:00")],
)
def test_times_are_local_and_name_their_zone(
    name: str, short: str, cell: str, tmp_path: Path, zone: Callable[[str], None]
) -> None:
    zone(name)
    result = seen(made_up_result(tmp_path), NOON, None, NOON + 1, NOON, camera="door")
    shown, legend = columns(result, 120)
    assert list(shown)[3:5] == ["camera", f"time ({short})"]
    assert shown[f"time ({short})"] == [cell, "-", f"{cell[:-1]}1", cell]
    assert legend[-1] == "captured on 2026-11-25"
    assert columns(result, None)[0][f"time ({short})"][0] == f"2026-11-25 {cell}"  # each line of a pipe says all
    assert len(columns(result, None)[1]) == 1


def test_times_of_several_days_and_zones_are_whole(tmp_path: Path, zone: Callable[[str], None]) -> None:
    zone("Europe/Berlin")
    shown, legend = columns(seen(made_up_result(tmp_path), NOON, NOON + 86_400, None, None), 120)
    assert shown["time (CET)"] == ["2026-11-25 13:00:00", "2026-11-26 13:00:00", "-", "-"]
    assert len(legend) == 1
    shown, _ = columns(seen(made_up_result(tmp_path), NOON, NOON - 86_400 * 150, None, 1e22), 140)
    assert shown["time"] == [
        "2026-11-25 13:00:00 CET",
        "2026-06-28 14:00:00 CEST",
        "-",
        "10000000000000000000000 seconds since 1970",
    ]


def test_long_names_lose_their_beginning_on_a_terminal_only(tmp_path: Path) -> None:
    result = made_up_result(tmp_path)
    wide = f"{'北京/' * 40}crop.jpg"
    first = replace(result.hits[0], item=replace(result.hits[0].item, uri=wide, camera="entrance " * 9))
    result = replace(result, hits=(first, *result.hits[1:]))
    shown, _ = columns(result, 80)
    assert shown["image"][0].startswith("…")
    assert shown["image"][0].endswith("/crop.jpg")
    assert max(map(cell_len, shown["camera"])) == 20
    assert sum(max(map(cell_len, (header, *cells))) + 2 for header, cells in shown.items()) - 2 <= 80
    assert columns(result, None)[0]["image"][0] == wide


def test_letters_are_no_articles_and_are_explained(tmp_path: Path) -> None:
    shown, legend = columns(made_up_result(tmp_path, 5), 70)
    assert list(shown)[3:] == ["A", "B", "C", "D", "E"]
    assert legend[0] == "A: male ◆ · B: upper-colour red or blue · C: thing 0 · D: thing 1 · E: thing 2"


@pytest.mark.parametrize(
    ("width", "headers"),
    [
        (80, ["camera", "time (UTC)", "weakest evidence"]),
        (50, ["camera", "time (UTC)"]),
        (32, ["camera"]),
        (26, []),
    ],
)
def test_rank_match_and_name_are_shown_on_the_narrowest_terminal(
    width: int, headers: list[str], tmp_path: Path, zone: Callable[[str], None]
) -> None:
    zone("UTC")
    result = seen(made_up_result(tmp_path, 9), NOON, NOON, NOON, NOON, camera="door")
    shown, _ = columns(result, width)
    assert list(shown) == ["#", "match", "image", *headers]
    assert sum(max(map(cell_len, (header, *cells))) + 2 for header, cells in shown.items()) - 2 <= width
