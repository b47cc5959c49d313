"""What is measured, against which, and what is refused; the clock is the test's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_cli.bench import engine as engine_bench
from sal_cli.bench.engine import (
    BenchOptions,
    Contender,
    bench_document,
    bench_engine,
    measure,
    open_contenders,
    random_batch,
)
from sal_cli.bench.timing import TimingSettings
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, Bundle, open_bundle
from sal_runtime.errors import BackendError, BundleError, ParityError
from tests.runtime.tiny_bundle import embed_attributes, embed_image, make_tiny_bundle
from tests.runtime.varied_bundle import make_varied_bundle

QUICK = TimingSettings(warmup_ms=0, min_seconds=0.0, min_iterations=2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_varied_bundle(tmp_path_factory.mktemp("bench") / "tiny", precisions=("int8",))


def options(
    precisions: Sequence[str] | None = None,
    devices: Sequence[str] | None = ("cpu",),
    batch_sizes: Sequence[int] = (1, 3),
    timing: TimingSettings = QUICK,
) -> BenchOptions:
    return BenchOptions(precisions, devices, batch_sizes, threads=1, timing=timing)


class FakeTime:
    """A clock that moves when a contender runs, by its price for a row times the rows."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def contender(self, price: float, *, role: str = IMAGE_ROLE, **differs: str) -> Contender:
        def run(batch: np.ndarray) -> np.ndarray:
            self.now += price * len(batch)
            return batch

        what = {"artefact": "a.onnx", "precision": "fp32", "device": "cpu", "library": "onnxruntime 1", **differs}
        return Contender(role=role, run=run, **what)


class FakeBackend:
    """Gives what the tiny bundle's encoders give, on any device that `present` names."""

    present = ("cpu", "trt")

    def __init__(self, model: bytes, *, device: str, precision: str, threads: int) -> None:
        if device not in self.present:
            raise BackendError(f"device {device}: not here")
        self.device = device

    def run(self, batch: np.ndarray) -> np.ndarray:
        return embed_image(batch) if batch.ndim == 4 else embed_attributes(batch)


def test_throughput_latency_and_ratios_by_hand(bundle: Bundle) -> None:
    fake = FakeTime()
    contenders = [
        fake.contender(0.25),
        fake.contender(0.0625, artefact="b.onnx", precision="int8"),
        fake.contender(0.5, artefact="pytorch eager", library="torch 2"),
        fake.contender(0.125, artefact="c.onnx", role=ATTRIBUTE_ROLE),
    ]
    told: list[tuple[int, int]] = []
    rows = measure(
        bundle, contenders, options(batch_sizes=(1, 4)), lambda done, total: told.append((done, total)), fake.clock
    )
    assert [(row.batch_size, row.contender.artefact) for row in rows] == [
        (size, name) for size in (1, 4) for name in ("a.onnx", "b.onnx", "pytorch eager", "c.onnx")
    ]
    # images per second do not depend on the batch here: the price is per row
    assert [row.throughput for row in rows] == pytest.approx([4, 16, 2, 8] * 2)
    # the attribute encoder has its own baseline: itself
    assert [row.relative_throughput for row in rows] == pytest.approx([1, 4, 0.5, 1] * 2)
    assert rows[4].timing.latencies_ms == pytest.approx([1000.0, 1000.0])
    assert (told[0], told[-1]) == ((0, 800), (800, 800))
    assert len(told) > 8
    assert told == sorted(told)


def test_the_baseline_is_onnx_runtime_in_fp32_on_the_same_hardware(bundle: Bundle) -> None:
    fake = FakeTime()
    contenders = [
        fake.contender(0.5, library="torch 2", device="cuda"),
        fake.contender(8.0),
        fake.contender(2.0, device="cuda"),
        fake.contender(0.25, device="trt", library="tensorrt 11", precision="fp16"),
        fake.contender(1.0, device="tpu", library="other 1"),
    ]
    rows = measure(bundle, contenders, options(batch_sizes=(1,)), lambda done, total: None, fake.clock)
    assert [row.relative_throughput for row in rows] == [4.0, 1.0, 1.0, 8.0, None]


def test_every_encoder_on_every_device_that_is_there(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_bench, "MEASURED_DEVICES", ("cpu", "cuda", "trt"))
    monkeypatch.setattr(engine_bench, "open_backend", FakeBackend)
    contenders, notes = open_contenders(bundle, options(devices=None))
    assert [(contender.artefact, contender.precision, contender.device) for contender in contenders] == [
        ("image_encoder.onnx", "fp32", "cpu"),
        ("image_encoder.int8.onnx", "int8", "cpu"),
        ("attribute_encoder.onnx", "fp32", "cpu"),
        ("image_encoder.onnx", "fp32", "trt"),
        ("image_encoder.int8.onnx", "int8", "trt"),
    ]
    assert notes == ["not measured: cuda: device cuda: not here"]


def test_an_encoder_that_a_device_cannot_load_is_left_out_alone(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(FakeBackend):
        def __init__(self, model: bytes, *, device: str, precision: str, threads: int) -> None:
            super().__init__(model, device=device, precision=precision, threads=threads)
            if device == "trt" and precision == "int8":
                raise BackendError("too coarse for me")

    monkeypatch.setattr(engine_bench, "MEASURED_DEVICES", ("cpu", "trt"))
    monkeypatch.setattr(engine_bench, "open_backend", Picky)
    contenders, notes = open_contenders(bundle, options(devices=None))
    assert [contender.artefact for contender in contenders if contender.device == "trt"] == ["image_encoder.onnx"]
    assert notes == ["not measured: image_encoder.int8.onnx on trt: too coarse for me"]
    with pytest.raises(BackendError, match="too coarse for me"):
        open_contenders(bundle, options(devices=("trt",)))


def test_a_device_that_was_asked_for_must_be_there(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_bench, "open_backend", FakeBackend)
    with pytest.raises(BackendError, match="device cuda: not here"):
        open_contenders(bundle, options(devices=("cpu", "cuda")))
    monkeypatch.setattr(FakeBackend, "present", ())
    with pytest.raises(BackendError, match="device cpu: not here"):
        open_contenders(bundle, options(devices=None))


def test_a_device_is_named_not_left_open(bundle: Bundle) -> None:
    for device in ("auto", "abacus"):
        with pytest.raises(BackendError, match=f"device is '{device}', expected one of cpu, cuda, trt"):
            open_contenders(bundle, options(devices=(device,)))


def test_only_the_precisions_that_are_asked_for(bundle: Bundle) -> None:
    contenders, _ = open_contenders(bundle, options(precisions=("int8",)))
    assert [contender.artefact for contender in contenders] == ["image_encoder.int8.onnx", "attribute_encoder.onnx"]
    with pytest.raises(BundleError, match="no image_encoder in fp16 for cpu; there is fp32 for cpu/cuda/trt, int8"):
        open_contenders(bundle, options(precisions=("fp16",)))


def test_nothing_is_timed_if_a_golden_vector_does_not_hold(tmp_path: Path) -> None:
    def clock() -> float:
        raise AssertionError("something was timed")

    wrong = open_bundle(make_tiny_bundle(tmp_path / "wrong", seed=1))  # another image encoder, the same golden vectors
    with pytest.raises(ParityError, match=r"image_encoder.onnx on cpu \(onnxruntime .*golden"):
        bench_engine(wrong, options(), clock=clock)


def test_batches_are_what_the_graphs_take_and_always_the_same(bundle: Bundle) -> None:
    images, vectors = random_batch(bundle, IMAGE_ROLE, 5), random_batch(bundle, ATTRIBUTE_ROLE, 5)
    assert (images.dtype, images.shape) == (np.uint8, (5, 16, 8, 3))
    assert len(np.unique(images)) > 200
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, 8))
    assert set(np.unique(vectors)) == {0.0, 1.0}
    assert np.array_equal(images, random_batch(bundle, IMAGE_ROLE, 5))


def test_the_document_has_the_agreed_keys(bundle: Bundle) -> None:
    def open_others(given: Bundle, devices: Sequence[str], threads: int) -> tuple[list[Contender], list[str]]:
        assert (given, tuple(devices), threads) == (bundle, ("cpu",), 1)
        other = Contender(IMAGE_ROLE, "other", "fp32", "cpu", "other 1", lambda batch: batch)
        return [other], ["not measured: yet another"]

    bench = bench_engine(bundle, options(), open_others)
    assert bench.notes == ("not measured: yet another",)
    document: dict[str, Any] = bench_document(bench)
    assert list(document) == [
        "tool", "command", "commit", "created", "machine", "versions", "bundle", "settings", "golden", "rows",
    ]  # fmt: skip
    assert document["bundle"] == {"name": "tiny", "fingerprint": bundle.fingerprint}
    assert document["settings"] == {"warmup_ms": 0, "min_seconds": 0.0, "min_iterations": 2}
    assert list(document["golden"]) == ["image_encoder.onnx", "image_encoder.int8.onnx", "attribute_encoder.onnx"]
    assert document["golden"]["image_encoder.onnx"]["max_abs"] < 1e-4
    assert len(document["rows"]) == 2 * 4
    row = document["rows"][0]
    assert list(row) == [
        "artefact", "precision", "device", "engine", "batch", "threads", "streams", "iterations", "seconds",
        "throughput", "relative_throughput", "latency_ms", "coefficient_of_variation", "stable",
    ]  # fmt: skip
    assert row["engine"].startswith("onnxruntime ")
    assert (row["batch"], row["threads"], row["streams"], row["relative_throughput"]) == (1, 1, 1, 1.0)
    assert list(row["latency_ms"]) == ["min", "mean", "median", "p90", "p95", "p99", "max"]
    assert row["throughput"] == pytest.approx(row["batch"] * row["iterations"] / row["seconds"])
