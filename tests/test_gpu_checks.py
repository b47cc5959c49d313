"""scripts/gpu_checks.py on pretended libraries: it runs to its end, and what is wrong gets into the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_export.retrieval_gate import Task
from sal_runtime import backend_tensorrt
from sal_runtime.bundle import open_bundle
from sal_runtime.bundle_writer import write_bundle
from sal_runtime.engine_key import Profile
from sal_runtime.errors import ParityError
from sal_runtime.tensorrt_build import BuiltEngine
from sal_runtime.tensorrt_precision import PrecisionProof
from sal_train.protocol import Protocol
from scripts import engine_measures, gpu_checks
from scripts.engine_measures import agreement, in_batches
from tests.runtime import fake_tensorrt
from tests.runtime.fake_tensorrt import FakeTensorRT
from tests.runtime.tiny_bundle import DIM, SPEC, embed_image, make_tiny_bundle


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """A GPU whose engines compute what the tiny bundle's image encoder computes."""
    library = fake_tensorrt.install(monkeypatch)
    library.image, library.dim, library.answer = (SPEC.height, SPEC.width, 3), DIM, embed_image

    def build(model: bytes, precision: Any, profile: Profile, *_: Any) -> BuiltEngine:
        made = fake_tensorrt.plan(profile.min_batch, profile.opt_batch, profile.max_batch)
        return BuiltEngine(made, PrecisionProof({precision: 1}, {precision: 1}, None, len(made)))

    monkeypatch.setattr(backend_tensorrt, "build_engine", build)
    monkeypatch.setattr(engine_measures, "WARM_UP", 1)
    monkeypatch.setattr(engine_measures, "ROUNDS", 3)
    return library


def run(tmp_path: Path) -> tuple[int, dict[str, Any]]:
    out = tmp_path / "gpu.json"
    bundle = make_tiny_bundle(tmp_path / "bundle")
    code = gpu_checks.main(["--bundle", str(bundle), "--out", str(out), "--max-batch", "16"])
    return code, json.loads(out.read_text())


def test_all_parts_are_in_the_record(library: FakeTensorRT, tmp_path: Path) -> None:
    code, record = run(tmp_path)
    assert (code, record["failed"]) == (0, [])
    assert record["machine"]["gpu"]["name"] == "NVIDIA Pretended"
    assert record["fp32 build"]["proof"]["engine"] == {"fp32": 1}
    assert record["fp32 preflight"].startswith("built for batches 1 to 16")
    assert record["fp32 golden"]["min_cosine"] == pytest.approx(1)
    assert set(record["fp32 parity"]) == {"1", "2", "3", "17", "16"}
    assert all(one["rows"] == gpu_checks.NUM_CROPS for one in record["fp32 parity"].values())
    assert set(record["fp32 speed"]) == {"1", "8", "16", "32"}
    assert record["onnxruntime on cuda"].startswith("left out: ")
    assert record["pytorch"] == "left out: no --run given"


def test_only_what_is_meant_for_tensorrt_is_built(library: FakeTensorRT, tmp_path: Path) -> None:
    """int8 comes in two layouts, and TensorRT's parser takes one of them."""
    bundle = open_bundle(make_tiny_bundle(tmp_path / "bundle"))
    files = {file: bundle.read_bytes(file) for file in bundle.manifest["files"]}
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    for file, devices in (("image_encoder.int8.onnx", ["cpu"]), ("image_encoder.int8.trt.onnx", ["trt"])):
        files[file] = files["image_encoder.onnx"] + (b"" if devices == ["trt"] else b"not for TensorRT")
        entry = {"role": "image_encoder", "file": file, "precision": "int8", "devices": devices}
        manifest["artefacts"].append(entry)
    write_bundle(tmp_path / "bundle", manifest, files)
    built: list[bytes] = []
    build = backend_tensorrt.build_engine

    def noted(model: bytes, *rest: Any) -> BuiltEngine:
        built.append(model)
        return build(model, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend_tensorrt, "build_engine", noted)
        out = tmp_path / "gpu.json"
        gpu_checks.main(["--bundle", str(tmp_path / "bundle"), "--out", str(out), "--max-batch", "16"])
    assert built == [files["image_encoder.onnx"], files["image_encoder.int8.trt.onnx"]]


@pytest.mark.parametrize(("fp16_finds", "passes"), [(True, True), (False, False)])
def test_retrieval_on_the_gpu_passes_the_gate_again(fp16_finds: bool, passes: bool) -> None:
    """Four images of two categories; an engine that gives every image the same embedding finds half of them."""
    protocol = Protocol(
        name="squares",
        image_paths=(),
        attributes=np.zeros((4, 1), np.uint8),
        categories=np.array([1, 0, 1, 0]),
        queries=np.eye(2, dtype=np.uint8),
        seen=np.zeros(2, dtype=bool),
    )
    task = Task(protocol, np.array([1, 0, 1, 0], np.uint8).reshape(4, 1, 1, 1), np.eye(2, dtype=np.float32))
    document: dict[str, Any] = {}
    failed: list[str] = []

    def attempt(name: str, work: Callable[[], Any]) -> None:
        try:
            document[name] = work()
        except ParityError:
            failed.append(name)

    def right(images: np.ndarray) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[images[:, 0, 0, 0]]

    def blind(images: np.ndarray) -> np.ndarray:
        return np.tile(np.array([[0.6, 0.8]], np.float32), (len(images), 1))

    gpu_checks.check_retrieved(right, "fp32", task, document, attempt)
    gpu_checks.check_retrieved(right if fp16_finds else blind, "fp16", task, document, attempt)
    assert document["fp32 retrieval"]["mAP"] == 1.0
    assert failed == ([] if passes else ["fp16 retrieval"])


def test_a_wrong_engine_fails_and_the_other_parts_still_run(library: FakeTensorRT, tmp_path: Path) -> None:
    library.answer = lambda images: -embed_image(images)
    code, record = run(tmp_path)
    assert (code, record["failed"]) == (1, ["fp32 golden", "fp32 parity"])
    assert record["fp32 golden"]["failed"].startswith("ParityError: cosines {'min_cosine': -1.0")
    assert "tensorrt" in record["fp32 speed"]["8"]


def test_a_failed_build_is_in_the_record(
    library: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: Any) -> BuiltEngine:
        raise MemoryError("no room")

    monkeypatch.setattr(backend_tensorrt, "build_engine", build)
    code, record = run(tmp_path)
    assert code == 1
    assert record["fp32 build"] == {"failed": "MemoryError: no room"}
    assert "fp32 golden" not in record


def test_without_a_gpu_there_is_one_line_and_code_1(
    library: FakeTensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.cuda.devices = 0
    out = tmp_path / "gpu.json"
    assert gpu_checks.main(["--bundle", str(tmp_path), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("gpu_checks: no CUDA device: ")
    assert not out.exists()


def test_agreement_sees_what_is_not_finite_and_what_differs() -> None:
    one = np.eye(4, dtype=np.float32)
    assert agreement(one, one, 0.999)["mean_cosine"] == 1
    broken = one.copy()
    broken[2, 2] = np.nan
    with pytest.raises(ParityError, match="1 embeddings are not finite"):
        agreement(broken, one, 0.0)
    with pytest.raises(ParityError, match=r"expected at least 0\.999"):
        agreement(one[::-1], one, 0.999)


def test_batches_cover_every_crop_in_order() -> None:
    crops = np.arange(7 * 12, dtype=np.uint8).reshape(7, 2, 2, 3)
    sizes: list[int] = []

    def encode(batch: Any) -> Any:
        sizes.append(len(batch))
        return batch.reshape(len(batch), -1)

    assert np.array_equal(in_batches(encode, crops, 3), crops.reshape(7, -1))
    assert sizes == [3, 3, 1]
