"""Detectors on TensorRT: built for real with TensorRT-RTX, which needs no GPU for that; run by a pretended TensorRT.

The pretended engine computes what ONNX Runtime computes, so that all that is left to go wrong is what is tested here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_runtime.engines.onnx import open_session
from sal_runtime.engines.tensorrt import backend
from sal_runtime.engines.tensorrt.build import BuiltEngine, build_engine
from sal_runtime.engines.tensorrt.cuda import current_gpu
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.library import find_tensorrt
from sal_runtime.engines.tensorrt.precision import PrecisionProof
from sal_runtime.errors import BackendError
from sal_service.video.detector.detector import LARGEST_BATCH, Detector
from tests.research_weights import find_weights
from tests.runtime import fake_tensorrt
from tests.runtime.fake_tensorrt import FakeGraph, FakeTensorRT
from tests.service.video.detector import graphs
from tests.service.video.detector.graphs import BOX, SIDE, write_graph
from tests.service.video.detector.test_families import DESCRIBED, RECOGNISED
from tests.service.video.detector.test_yolox_nano import frames_of_vtest

KINDS = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(uint8)": "UINT8", "tensor(int64)": "INT64"}
BLACK = np.zeros((SIDE, SIDE, 3), np.uint8)
FREE = ("n", 3, SIDE, SIDE)


def computed_by_onnx_runtime(model: bytes, batch: int) -> FakeGraph:
    """The graph as TensorRT would state its tensors; `batch` is its fixed length, or -1."""
    session = open_session(model, device="cpu", threads=1)
    inputs = {
        port.name: (KINDS[port.type], (batch, *(n if isinstance(n, int) else SIDE for n in port.shape[1:])))
        for port in session.get_inputs()
    }
    names = [port.name for port in session.get_outputs()]

    def answer(given: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(names, session.run(None, given), strict=True))

    count = abs(batch)
    feeds = {name: np.zeros((count, *shape[1:]), fake_tensorrt.TYPES[kind]) for name, (kind, shape) in inputs.items()}
    values = answer(feeds)
    outputs = {
        port.name: (KINDS[port.type], (batch if batch == -1 else len(values[port.name]), *values[port.name].shape[1:]))
        for port in session.get_outputs()
    }
    return FakeGraph(inputs, outputs, answer)


class Pretended:
    """A GPU on which each detector that is built is run by ONNX Runtime.

    Attributes:
        library: the pretended TensorRT.
        profiles: batch sizes of the engines that were built, in order.
    """

    def __init__(self, library: FakeTensorRT) -> None:
        self.library = library
        self.profiles: list[Profile] = []

    def build(self, model: bytes, *, precision: Any, profile: Profile, **others: Any) -> BuiltEngine:
        assert precision is None, "a detector keeps the precision of its graph"
        self.profiles.append(profile)
        is_fixed = profile.min_batch == profile.max_batch
        self.library.graph = computed_by_onnx_runtime(model, profile.max_batch if is_fixed else -1)
        made = fake_tensorrt.plan(profile.min_batch, profile.opt_batch, profile.max_batch)
        return BuiltEngine(made, PrecisionProof({}, {}, None, len(made)))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pretended:
    pretended = Pretended(fake_tensorrt.install(monkeypatch))
    monkeypatch.setattr(backend, "build_engine", pretended.build)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pretended


@pytest.mark.parametrize("shape", [None, FREE], ids=["one picture", "any number"])
@pytest.mark.parametrize("name", RECOGNISED)
def test_tensorrt_builds_every_family(name: str, shape: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx")
    outputs, options = RECOGNISED[name]
    if shape is not None:
        options = {**options, "shape": (shape[0], *options.get("shape", shape)[1:])}
    path = write_graph(tmp_path / "detector.onnx", outputs, **options)
    profile = Profile(1, 1, 1) if shape is None else Profile(1, LARGEST_BATCH, LARGEST_BATCH)
    assert build_engine(path.read_bytes(), precision=None, profile=profile, compute_capabilities=["8.9"]).plan


def test_tensorrt_builds_yolox_nano_in_the_precision_of_its_graph() -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx")
    model = find_weights("yolox_nano.onnx").read_bytes()
    built = build_engine(model, precision=None, profile=Profile(1, 1, 1), compute_capabilities=["8.9"])
    assert built.proof.graph == {"fp32": 113}  # its Conv nodes
    assert built.proof.weight_bytes == pytest.approx(len(model), rel=0.02)


def test_a_size_that_is_free_or_another_batch_is_not_built(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install tensorrt-rtx")
    path = write_graph(tmp_path / "d.onnx", {"output0": graphs.yolov8()}, shape=(1, 3, "height", "width"))
    with pytest.raises(
        BackendError, match=r"takes images \[1, 3, -1, -1\], -1 for a free length; TensorRT takes a free batch, or"
    ):
        build_engine(path.read_bytes(), precision=None, profile=Profile(1, 1, 1), compute_capabilities=["8.9"])
    path = write_graph(tmp_path / "d.onnx", {"output0": graphs.yolov8()})
    with pytest.raises(BackendError, match=r"takes images \[1, 3, 128, 128\].*, or batches 1 to 4, best at 4"):
        build_engine(path.read_bytes(), precision=None, profile=Profile(1, 4, 4), compute_capabilities=["8.9"])


@pytest.mark.parametrize("name", RECOGNISED)
def test_every_family_finds_on_tensorrt_whom_it_finds_on_the_cpu(gpu: Pretended, name: str, tmp_path: Path) -> None:
    outputs, options = RECOGNISED[name]
    detector = Detector(write_graph(tmp_path / "detector.onnx", outputs, **options), device="trt", min_height=0)
    for found in detector.detect([BLACK, BLACK]):
        np.testing.assert_allclose(found.boxes, [BOX], atol=1e-3)
        np.testing.assert_allclose(found.scores, [0.72], atol=1e-4)
    assert gpu.profiles == [Profile(1, 1, 1)]
    assert set(gpu.library.executed) == {1}


def test_lists_without_a_batch_axis_are_read_whole(gpu: Pretended, tmp_path: Path) -> None:
    outputs, sidecar = DESCRIBED["torchvision"]
    path = write_graph(tmp_path / "detector.onnx", outputs)
    (tmp_path / "detector.toml").write_text(sidecar)
    (found,) = Detector(path, device="trt", min_height=0).detect([BLACK])
    np.testing.assert_allclose(found.boxes, [BOX], atol=1e-3)


def drawn(count: int) -> list[Any]:
    """Frames of different brightness."""
    return [np.full((SIDE, SIDE, 3), 10 * number, np.uint8) for number in range(count)]


def moving(path: Path, shape: Any) -> Path:
    """A detector whose box is the further to the right, the brighter the picture; it takes sizes as well."""
    look = np.full((3, SIDE, SIDE), 1 / (3 * SIDE * SIDE), np.float32)
    outputs = graphs.rt_detr()
    gains = {"boxes": np.full_like(outputs["boxes"], 1e-3)}
    return write_graph(path, outputs, sizes="boxes", shape=shape, look=look, gains=gains)


@pytest.mark.parametrize(
    ("shape", "profile", "sizes"),
    [(FREE, Profile(1, 16, 16), {2, 16, 3}), ((4, 3, SIDE, SIDE), Profile(4, 4, 4), {4})],
    ids=["any number", "four"],
)
def test_batches_give_each_frame_its_own_people(
    gpu: Pretended, shape: Any, profile: Profile, sizes: set[int], tmp_path: Path
) -> None:
    path = moving(tmp_path / "d.onnx", shape)
    on_cpu = Detector(path, min_height=0).detect(drawn(19))
    on_gpu = Detector(path, device="trt", min_height=0).detect(drawn(19))
    assert len({people.boxes.tobytes() for people in on_cpu}) == 19
    for found, expected in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)
    assert gpu.profiles == [profile]
    assert set(gpu.library.executed) == sizes


def test_a_sidecar_says_how_many_pictures_tensorrt_gets(gpu: Pretended, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", {"output0": graphs.yolov8()}, shape=FREE)
    (tmp_path / "d.toml").write_text("batch = 3")
    Detector(path, device="trt")
    assert gpu.profiles == [Profile(1, 3, 3)]


def test_an_engine_is_built_once(gpu: Pretended, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", {"output0": graphs.yolov8()})
    for _ in range(2):
        Detector(path, device="trt")
    assert len(gpu.profiles) == 1


def test_pictures_of_any_size_are_refused(gpu: Pretended, tmp_path: Path) -> None:
    shape, metadata = ("n", 3, "height", "width"), {"imgsz": str([SIDE, SIDE])}
    path = write_graph(tmp_path / "d.onnx", {"output0": graphs.yolov8()}, shape=shape, metadata=metadata)
    with pytest.raises(BackendError, match=r"d\.onnx: it takes pictures of any size, and TensorRT needs one; export"):
        Detector(path, device="trt")
    assert gpu.profiles == []


def test_as_many_rows_as_there_are_people_are_refused(gpu: Pretended, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", {"output0": graphs.end_to_end()})
    gpu.library.undecided = {"output0"}
    with pytest.raises(
        BackendError, match=r"d\.onnx: TensorRT 11\.4\.0\.106 gives output0 \[-1, \d+, 6\] in a run of 1"
    ):
        Detector(path, device="trt")


def test_without_tensorrt_the_error_names_the_file_and_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    path = write_graph(tmp_path / "d.onnx", {"output0": graphs.yolov8()})
    with pytest.raises(BackendError, match=r"detector .*d\.onnx: .*pip install tensorrt-rtx"):
        Detector(path, device="trt")


@pytest.mark.gpu
def test_yolox_nano_finds_on_a_gpu_whom_it_finds_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_tensorrt()
        current_gpu()
    except BackendError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path, frames = find_weights("yolox_nano.onnx"), list(frames_of_vtest(step=100))
    for found, expected in zip(Detector(path, device="trt").detect(frames), Detector(path).detect(frames), strict=True):
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.5)
        np.testing.assert_allclose(found.scores, expected.scores, atol=0.01)
