"""What `sal bench encode` measures, by a clock of the test, and what it refuses to measure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from sal_cli.bench import encode as encode_bench
from sal_cli.bench.drawn import PERSON_WIDTHS, draw_crops, write_people
from sal_cli.bench.encode import (
    SESSION,
    WORK,
    EncodeBenchOptions,
    bench_encode,
    encode_document,
    open_bare_session,
    time_rounds,
)
from sal_cli.show.bench_encode import report_encode_bench
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.errors import BundleError, InputError, ParityError
from sal_runtime.images.pixels import load_image
from sal_runtime.images.spec import ImageSpec
from tests.runtime.tiny_bundle import embed_image, make_tiny_bundle
from tests.runtime.varied_bundle import make_varied_bundle

QUICK = EncodeBenchOptions(images=20, rounds=2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_varied_bundle(tmp_path_factory.mktemp("bench") / "tiny", precisions=("int8",))


def no_clock() -> float:
    raise AssertionError("something was timed")


def test_contenders_take_turns_and_the_first_round_is_warm_up() -> None:
    now = 0.0
    ran: list[str] = []

    def task(name: str, price: float) -> None:
        nonlocal now
        ran.append(name)
        now += price

    told: list[tuple[int, int]] = []
    tasks = {("fp32", "a"): lambda: task("a", 0.5), ("fp32", "b"): lambda: task("b", 0.25)}
    seconds = time_rounds(tasks, 3, lambda done, total: told.append((done, total)), lambda: now)
    assert ran == ["a", "b"] * 4
    assert seconds == {("fp32", "a"): [0.5] * 3, ("fp32", "b"): [0.25] * 3}
    assert told == [(turn, 8) for turn in range(9)]


def test_rows_are_images_per_second_and_ratios_of_the_same_round(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = dict(zip(WORK, ((2.0, 4.0), (1.0, 4.0), (4.0, 2.0), (2.0, 8.0), (8.0, 8.0)), strict=True))

    def timed(tasks: dict[tuple[str, str], object], *rest: object) -> dict[tuple[str, str], list[float]]:
        return {(precision, work): list(prices[work]) for precision, work in tasks}

    monkeypatch.setattr(encode_bench, "time_rounds", timed)
    bench = bench_encode(bundle, QUICK, clock=no_clock)
    assert [(row.precision, row.work) for row in bench.rows] == [
        (precision, work) for precision in ("fp32", "int8") for work in WORK
    ]
    assert [row.throughputs for row in bench.rows[:5]] == [(10, 5), (20, 5), (5, 10), (10, 2.5), (2.5, 2.5)]
    assert [row.ratios for row in bench.rows[:5]] == [(1, 1), (2, 1), (0.5, 2), (1, 0.5), (0.25, 0.5)]
    assert bench.max_abs == {"fp32": pytest.approx(0, abs=1e-5), "int8": pytest.approx(0, abs=1e-5)}
    assert bench.batch_sizes == {"fp32": 16, "int8": 16}


def test_the_bare_session_is_the_graph_alone(bundle: Bundle) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(open_bare_session(bundle, "cpu", "fp32")(images), embed_image(images), atol=1e-5)


def test_nothing_is_timed_if_pipeline_and_session_differ(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(bundle: Bundle, device: str, precision: str) -> encode_bench.Run:
        return lambda images: np.roll(embed_image(images), 1, axis=1)

    monkeypatch.setattr(encode_bench, "open_bare_session", another)
    with pytest.raises(ParityError, match=r"jpeg files: the pipeline and the bare session differ by .* in fp32 on cpu"):
        bench_encode(bundle, QUICK, clock=no_clock)


def test_nothing_is_timed_if_a_golden_vector_does_not_hold(tmp_path: Path) -> None:
    wrong = open_bundle(make_tiny_bundle(tmp_path / "wrong", seed=1))
    with pytest.raises(ParityError, match="golden"):
        bench_encode(wrong, QUICK, clock=no_clock)


def test_what_cannot_be_measured_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="got 0 images and 2 rounds"):
        bench_encode(bundle, EncodeBenchOptions(images=0, rounds=2), clock=no_clock)
    with pytest.raises(BundleError, match="no image_encoder in fp16"):
        bench_encode(bundle, EncodeBenchOptions(precisions=("fp16",)), clock=no_clock)


def test_document_table_and_plot(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = bench_encode(bundle, EncodeBenchOptions(("int8",), images=20, rounds=2))
    document = encode_document(bench)
    assert list(document) == [
        "tool", "command", "commit", "created", "machine", "versions", "bundle", "settings", "contenders",
        "agreement_max_abs", "rows",
    ]  # fmt: skip
    assert document["settings"] == {
        "device": "cpu", "images": 20, "rounds": 2, "session_batch": 32, "pipeline_batch": {"int8": 16},
    }  # fmt: skip
    assert document["rows"][0]["contender"] == SESSION
    assert document["rows"][0]["to_session"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    assert [row["contender"] for row in document["rows"]] == list(WORK)

    report_encode_bench(bench, tmp_path / "encode.json", tmp_path / "encode.svg", as_json=False)
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert all(work in shown for work in WORK)
    written = json.loads((tmp_path / "encode.json").read_text())
    assert written["rows"] == document["rows"]
    words = re.findall(r"<!-- (.*?) -->", (tmp_path / "encode.svg").read_text(), flags=re.DOTALL)
    assert {"int8 on cpu", *WORK} <= set(words)

    report_encode_bench(bench, None, None, as_json=True)
    assert json.loads(capsys.readouterr().out)["rows"] == document["rows"]


def test_drawn_images_are_always_the_same(tmp_path: Path) -> None:
    spec = ImageSpec(128, 64)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = write_people(tmp_path / "first", 3, spec), write_people(tmp_path / "second", 3, spec)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len({path.read_bytes() for path in first}) == 3
    assert load_image(first[0], spec).shape == (128, 64, 3)
    for crop in draw_crops(30):
        _, _, width, height = crop.box
        assert crop.pixels().shape == (height, width, 3)  # none is cut off by the frame
        assert PERSON_WIDTHS[0] <= width <= PERSON_WIDTHS[1]
        assert 2.3 < height / width < 2.8
