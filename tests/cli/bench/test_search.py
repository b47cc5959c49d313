"""What is measured against which, and that wrong answers stop the bench; the clock is the test's."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from sal_cli.bench import search as search_bench
from sal_cli.bench import search_contenders
from sal_cli.bench.search import (
    SearchBench,
    SearchOptions,
    SearchRow,
    bench_search,
    by_full_sort,
    check_exact,
    compare,
    search_document,
)
from sal_cli.bench.search_contenders import FAISS, GEMM, READ, SearchContender, bounds, made_up_vectors
from sal_cli.bench.timing import Timing, TimingSettings
from sal_cli.show.bench_search import report_search
from sal_runtime.errors import InputError, ParityError

QUICK = TimingSettings(warmup_ms=0, min_seconds=0.0, min_iterations=2)
OPTIONS = SearchOptions(items=3000, dimension=16, k=5, queries=(1, 3), approximate=True, timing=QUICK, part_rows=700)


@pytest.fixture(scope="module")
def bench() -> SearchBench:
    return bench_search(OPTIONS)


def contender(name: str, baseline: str | None = None) -> SearchContender:
    return SearchContender(name, "numpy 1", lambda queries: None, baseline=baseline)


def test_ratios_to_the_fastest_of_each_bound_by_hand() -> None:
    contenders = [
        contender("slow read", READ), contender("fast read", READ), contender("product", GEMM), contender("ours"),
    ]  # fmt: skip
    timings = [Timing(latencies, 1.0) for latencies in ([8.0, 9.0], [4.0, 4.0, 90.0], [16.0], [2.0, 12.0, 12.0, 99.0])]
    rows = compare(contenders, 7, timings, [None, None, None, 1.0])
    assert [row.relative for row in rows] == [
        {READ: 2.0, GEMM: 0.5}, {READ: 1.0, GEMM: 0.25}, {READ: 4.0, GEMM: 1.0}, {READ: 3.0, GEMM: 0.75},
    ]  # fmt: skip
    assert [(row.num_queries, row.recall) for row in rows] == [(7, None), (7, None), (7, None), (7, 1.0)]


def test_all_contenders_are_measured_with_each_number_of_queries(bench: SearchBench) -> None:
    names = [row.contender.name for row in bench.rows]
    assert names[: len(names) // 2] == names[len(names) // 2 :]
    for start in ("read: ", "GEMM: ", "sal", "sal, 10% allowed", "sal, 50%", "sal, 90%", "faiss", "usearch", "approx"):
        assert any(name.startswith(start) for name in names), start
    assert [row.num_queries for row in bench.rows] == [1] * (len(names) // 2) + [3] * (len(names) // 2)
    for row in bench.rows:
        assert list(row.relative) == [READ, GEMM, FAISS]
        assert (row.recall is None) == (row.contender.kind == "bound")
        assert row.recall is None or row.recall >= (1.0 if row.contender.kind == "exact" else 0.9)
    for number in (1, 3):
        for baseline in (READ, GEMM, FAISS):
            assert min(row.relative[baseline] for row in bench.rows if row.num_queries == number
                       and row.contender.baseline == baseline) == 1.0  # fmt: skip


def test_the_bounds_do_what_they_say() -> None:
    """Every number is read and every product made: a NaN anywhere is found."""
    gallery = np.ones((1001, 4), np.float32)
    gallery[-1, -1] = np.nan
    for contender in bounds(gallery, blas_rows=300, chunk_rows=128):
        if contender.name.startswith("read: BLAS"):
            assert np.isnan(contender.run(gallery[:1]))
        else:
            contender.run(gallery[:2])
    assert len([contender for contender in bounds(gallery) if contender.baseline == GEMM]) == 2


def test_made_up_vectors_are_unit_and_always_the_same() -> None:
    vectors = made_up_vectors(np.random.default_rng(3), 5000, 24)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors, made_up_vectors(np.random.default_rng(3), 5000, 24))


def test_a_full_sort_by_hand() -> None:
    gallery = np.array([[1.0], [4.0], [3.0], [2.0]], np.float32)
    queries = np.array([[1.0], [-1.0]], np.float32)
    assert by_full_sort(gallery, queries, 2, None).tolist() == [[1, 2], [0, 3]]
    assert by_full_sort(gallery, queries, 2, np.array([True, False, True, True])).tolist() == [[2, 3], [0, 3]]


def test_equal_scores_may_come_in_any_order_and_nothing_else() -> None:
    gallery = np.array([[1.0], [4.0], [4.0], [2.0], [4.0]], np.float32)
    queries = np.ones((1, 1), np.float32)
    allowed = np.array([True, True, True, True, False])
    expected = np.array([[1, 2, 3]])

    def check(rows: list[int], mask: np.ndarray | None = None) -> None:
        check_exact("it", np.array([rows]), expected, gallery, queries, mask)

    check([2, 1, 3])
    check([4, 1, 3])
    check([2, 1, 3], allowed)
    for rows, mask in (([1, 3, 2], None), ([1, 2, 0], None), ([1, 1, 3], None), ([1, 2], None), ([4, 1, 3], allowed)):
        with pytest.raises(ParityError, match="it does not give the rows that a full sort gives for 1 queries"):
            check(rows, mask)


def test_progress_is_told_from_the_start_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    bench_search(replace(OPTIONS, approximate=False), lambda done, total: told.append((done, total)))
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]
    assert [done / total for done, total in told] == sorted(done / total for done, total in told)
    assert sum(total == told[-1][1] for _, total in told) > 20


def test_a_wrong_answer_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_contenders, "top_k", lambda queries, parts, k, allowed: (np.zeros((len(queries), k)),))
    monkeypatch.setattr(search_bench, "time_in_turn", lambda *_: pytest.fail("timed"))
    with pytest.raises(ParityError, match="sal does not give"):
        bench_search(replace(OPTIONS, approximate=False))


def test_peers_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setitem(sys.modules, "usearch", None)
    bench = bench_search(replace(OPTIONS, approximate=False, queries=(2,)))
    assert bench.notes == tuple(
        f'not measured: {name} is not installed; in the checkout of sal: `pip install ".[bench]"`'
        for name in ("faiss", "usearch")
    )
    assert {tuple(row.relative) for row in bench.rows} == {(READ, GEMM)}


@pytest.mark.parametrize("wrong", [{"items": 0}, {"queries": ()}, {"queries": (1, 0)}, {"k": 0}, {"k": 151}])
def test_options_that_cannot_be_measured_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        replace(OPTIONS, **wrong)


def test_the_document(bench: SearchBench) -> None:
    document = json.loads(json.dumps(search_document(bench)))
    assert list(document) == ["tool", "command", "commit", "created", "machine", "versions", "settings", "rows"]
    assert document["settings"]["items"] == 3000
    assert {"numpy", "faiss-cpu", "usearch"} <= set(document["versions"])
    assert list(document["rows"][0]) == [
        "contender", "engine", "kind", "queries", "recall", "iterations", "seconds", "latency_ms",
        "coefficient_of_variation", "stable", "relative_latency",
    ]  # fmt: skip
    assert list(document["rows"][0]["latency_ms"]) == ["min", "mean", "median", "p90", "p95", "p99", "max"]


def made_up_bench() -> SearchBench:
    def row(name: str, number: int, latency: float, kind: str, recall: float | None) -> SearchRow:
        contender = SearchContender(name, "numpy 1", lambda queries: None, kind, is_own=kind != "bound")
        relative = {READ: latency / 20, GEMM: latency / 50, FAISS: latency / 1000}
        return SearchRow(contender, number, Timing([latency] * 4, 1.0), recall, relative)

    rows = [
        row(name, number, latency * number, kind, recall)
        for number in (1, 64)
        for name, latency, kind, recall in (
            ("read: BLAS dot", 20.0, "bound", None), ("sal, 10% allowed", 25.0, "exact", 1.0),
            ("approximate index", 12345.678, "approximate", 0.98765),
        )
    ]  # fmt: skip
    return SearchBench(replace(OPTIONS, items=1_000_000), "2026-01-01T00:00:00Z", tuple(rows), ("left out: much",))


def test_the_table_has_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    report_search(made_up_bench(), None, None, as_json=False)
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "top 5 of 1,000,000 vectors, d = 16"
    assert "64 queries" in shown.out
    (filtered, _) = [line.split() for line in lines if line.startswith("sal, 10% allowed")]
    assert filtered[3:] == ["25.0", "25.0", "0%", "1.25", "0.50", "0.03"]
    assert [line for line in lines if line.startswith("approximate index (98.8%)")]
    assert shown.err == "sal: left out: much\n"


def test_json_on_stdout_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_search(made_up_bench(), tmp_path / "search.json", tmp_path / "search.svg", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "search.json").read_text())
    svg = (tmp_path / "search.svg").read_text()
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    words = re.findall(r"<!-- (.*?) -->", svg, flags=re.DOTALL)
    for expected in ("top 5 of 1,000,000 vectors, d = 16", "1 query", "64 queries", "approximate index (98.8%)", "25"):
        assert expected in words


def test_faiss_leaves_the_process_its_number_of_threads() -> None:
    """PyTorch may share that number, and the result of training depends on it."""
    import faiss

    before = faiss.omp_get_max_threads()
    (contender, *_), _ = search_contenders.peer_contenders(np.eye(8, dtype=np.float32), 2)
    try:
        faiss.omp_set_num_threads(3)
        assert contender.run(np.eye(8, dtype=np.float32)[:1])[0, 0] == 0
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
