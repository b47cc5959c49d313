"""How frames are fed, and which people come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.engines import onnx as onnx_engine
from sal_runtime.errors import BackendError, InputError
from sal_service.video.detector import network
from sal_service.video.detector.detector import Detector, without_doubles
from sal_service.video.detector.draw import draw_detections
from tests.service.video.detector import graphs
from tests.service.video.detector.graphs import BOX, CELLS, SIDE, write_graph

BLUE, GREEN, RED = COLOUR = (30, 120, 240)
PLAIN: UInt8Array = np.full((SIDE, SIDE, 3), COLOUR, np.uint8)
WIDE: UInt8Array = np.full((SIDE // 2, SIDE, 3), COLOUR, np.uint8)


def looks_at(path: Path, kind: str, channel: int, row: int, gain: float, **options: Any) -> Path:
    """A detector whose only person is 0.5 + gain * value sure, the value that it gets at a pixel of column 64."""
    shape = options.get("shape", (1, 3, SIDE, SIDE))
    look = np.zeros(shape[1:], np.float32)
    look[(channel, row, 64) if shape[1] == 3 else (row, 64, channel)] = 1
    outputs: dict[str, Float32Array] = {
        "yolox": {"output": graphs.yolox_raw(1)},
        "yolov8": {"output": graphs.yolov8(1)},
        "rf-detr": graphs.rf_detr(),
        "ssd": graphs.tensorflow_ssd(),
    }[kind]
    name, place = {
        "yolox": ("output", (0, 256 + 5 * 8 + 3, 4)),
        "yolov8": ("output", (0, 4, 7)),
        "rf-detr": ("labels", (0, 2, 1)),
        "ssd": ("detection_scores:0", (0, 1)),
    }[kind]
    gains = np.zeros(outputs[name].shape, np.float32)
    gains[place] = gain
    outputs[name][place] = 0.5
    return write_graph(path, outputs, look=look, gains={name: gains}, **options)


def score_of(path: Path, frame: UInt8Array) -> float:
    (found,) = Detector(path, min_height=0, min_score=0.01).detect([frame])
    return float(found.scores[0])


PADDED = 4
"""A row at the top of the canvas where a wide frame in the centre leaves padding."""


@pytest.mark.parametrize(
    ("kind", "channel", "frame", "row", "expected"),
    [
        ("yolox", 0, PLAIN, 64, BLUE),
        ("yolox", 2, PLAIN, 64, RED),
        ("yolox", 0, WIDE, PADDED, BLUE),
        ("yolox", 0, WIDE, SIDE - 4, 114),
        ("yolov8", 0, PLAIN, 64, RED / 255),
        ("yolov8", 2, PLAIN, 64, BLUE / 255),
        ("yolov8", 0, WIDE, PADDED, 114 / 255),
        ("yolov8", 0, WIDE, SIDE - 4, 114 / 255),
        ("rf-detr", 0, PLAIN, 64, (RED / 255 - 0.485) / 0.229),
        ("rf-detr", 1, WIDE, PADDED, (GREEN / 255 - 0.456) / 0.224),
        ("rf-detr", 2, WIDE, SIDE - 4, (BLUE / 255 - 0.406) / 0.225),
    ],
)
def test_the_network_gets_pixels_by_the_convention_of_its_family(
    kind: str, channel: int, frame: UInt8Array, row: int, expected: float, tmp_path: Path
) -> None:
    gain = 0.001 if kind == "yolox" else 0.1
    score = score_of(looks_at(tmp_path / "d.onnx", kind, channel, row, gain), frame)
    if kind == "yolox":
        score /= 0.8  # its class is 0.8 sure
    if kind == "rf-detr":
        score = np.log(score / (1 - score))
    assert (score - 0.5) / gain == pytest.approx(expected, rel=2e-3)


def test_a_convention_that_a_file_does_not_tell_is_noted_until_it_is_stated(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", graphs.rt_detr(), sizes="boxes")
    assert "DEIMv2 of the sizes S to X wants mean and std of ImageNet" in Detector(path).notes[0]
    path.with_suffix(".toml").write_text("person_class = 0\nmean = [0.485, 0.456, 0.406]")
    assert Detector(path).notes == ()


def test_a_graph_that_takes_bytes_gets_them(tmp_path: Path) -> None:
    shape = (1, SIDE, SIDE, 3)
    path = looks_at(tmp_path / "d.onnx", "ssd", 0, 64, 0.001, shape=shape, dtype="uint8")
    assert (score_of(path, PLAIN) - 0.5) / 0.001 == pytest.approx(RED, rel=1e-3)
    path.with_suffix(".toml").write_text("divide_by = 255.0")
    with pytest.raises(InputError, match="sets divide_by, but its graph takes whole numbers"):
        Detector(path)


def test_a_sidecar_changes_conventions(tmp_path: Path) -> None:
    path = looks_at(tmp_path / "d.onnx", "yolov8", 0, SIDE - 4, 0.1)
    path.with_suffix(".toml").write_text('colour = "bgr"\nfit = "top-left"\npadding = 0\nmean = [0.5, 0, 0]\n')
    assert (score_of(path, WIDE) - 0.5) / 0.1 == pytest.approx(-0.5, rel=1e-3)
    assert (score_of(path, PLAIN) - 0.5) / 0.1 == pytest.approx(BLUE / 255 - 0.5, rel=1e-3)


@pytest.mark.parametrize(("batch", "expected"), [("n", 16), (1, 1), (4, 4)])
def test_batches(batch: str | int, expected: int, tmp_path: Path) -> None:
    """Each frame gets its own answer, however many fit into a run, and whatever their sizes are."""
    path = looks_at(tmp_path / "d.onnx", "yolov8", 0, 64, 0.4, shape=(batch, 3, SIDE, SIDE))
    detector = Detector(path, min_height=0)
    assert detector.batch == expected
    frames = [np.full((SIDE * (1 + n % 3), SIDE * (1 + n % 3), 3), n * 10, np.uint8) for n in range(21)]
    found = detector.detect(frames)
    assert [len(people) for people in found] == [1] * 21
    np.testing.assert_allclose([people.scores[0] for people in found], [0.5 + 0.4 * n * 10 / 255 for n in range(21)])
    for n, people in enumerate(found):
        np.testing.assert_allclose(people.boxes[0], np.array(BOX) * (1 + n % 3), rtol=1e-5)
    assert detector.detect([]) == []


def test_a_sidecar_limits_the_batch(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", {"output": graphs.yolov8()}, shape=("n", 3, SIDE, SIDE))
    path.with_suffix(".toml").write_text("batch = 2")
    detector = Detector(path)
    assert detector.batch == 2
    assert len(detector.detect([PLAIN] * 5)) == 5


@pytest.mark.parametrize("batch", [2, "n"])
def test_a_graph_that_answers_for_fewer_pictures_is_refused(batch: str | int, tmp_path: Path) -> None:
    """Exporters call the number of pictures free, but write graphs for one."""
    path = write_graph(tmp_path / "d.onnx", {"output": graphs.yolov8()}, shape=(batch, 3, SIDE, SIDE))
    model = onnx.load(path)
    (sums,) = [node for node in model.graph.node if node.op_type == "ReduceSum"]
    sums.input[1] = "all"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1, 2, 3]), "all"))
    onnx.save(model, path)
    with pytest.raises(InputError, match="the outputs are of 1 pictures, but 2 were given") as error:
        Detector(path)
    assert ("state batch = 1" in str(error.value)) == (batch == "n")
    path.with_suffix(".toml").write_text("batch = 1")
    if batch == "n":
        assert len(Detector(path).detect([PLAIN] * 3)) == 3


def test_a_graph_that_cannot_run_two_pictures_says_what_to_do(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", {"output": graphs.yolov8()}, shape=("n", 3, SIDE, SIDE))
    model = onnx.load(path)
    (shape,) = [entry for entry in model.graph.initializer if entry.name == "output/axes"]
    shape.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 1, 1]), "output/axes"))
    onnx.save(model, path)
    with pytest.raises(BackendError, match=r"float32 \[2, 3, 128, 128\]: .*; if its graph .*, state batch = 1"):
        Detector(path)
    path.with_suffix(".toml").write_text("batch = 1")
    assert len(Detector(path).detect([PLAIN] * 3)) == 3


def test_boxes_are_clipped_and_low_people_left_out(tmp_path: Path) -> None:
    columns = np.full((1, 5, CELLS), 0.0, np.float32)
    columns[0, :, 0] = 10, 64, 40, 200, 0.9  # reaches beyond left, top and bottom
    columns[0, :, 1] = 80, 64, 20, 50, 0.8  # 50 high
    columns[0, :, 2] = 110, 64, 20, 47, 0.7  # 47 high
    columns[0, :, 3] = 60, 120, 20, 80, 0.6  # 80 high, of which 48 are in the frame
    columns[0, :, 4] = 300, 64, 20, 80, 0.5  # not in the frame
    columns[0, :, 5] = 40, 64, 20, 80, 0.29
    path = write_graph(tmp_path / "d.onnx", {"output": columns})
    (found,) = Detector(path).detect([PLAIN])
    np.testing.assert_allclose(found.boxes, [[0, 0, 30, 128], [70, 39, 90, 89], [50, 80, 70, 128]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.6], rtol=1e-5)
    assert len(Detector(path, min_score=0.2, min_height=10).detect([PLAIN])[0]) == 5


def test_neighbours_stay_and_doubles_go(tmp_path: Path) -> None:
    """Read as left, top, width, height, the corners of the two neighbours would overlap by more than two thirds."""
    columns = np.zeros((1, 5, CELLS), np.float32)
    columns[0, :, 0] = 60, 80, 20, 50, 0.9
    columns[0, :, 1] = 85, 80, 20, 50, 0.8
    columns[0, :, 2] = 62, 80, 20, 50, 0.7  # overlaps the first by 0.82
    path = write_graph(tmp_path / "d.onnx", {"output": columns})
    (found,) = Detector(path).detect([PLAIN])
    np.testing.assert_allclose(found.scores, [0.9, 0.8], rtol=1e-5)
    path.with_suffix(".toml").write_text("overlap = 0.9")
    assert len(Detector(path).detect([PLAIN])[0]) == 3


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.45, 0.7]))
def test_suppression_is_that_of_the_definition(seed: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 60, (30, 2)), rng.uniform(5, 60, (30, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    scores = np.sort(rng.uniform(0.3, 1, 30).astype(np.float32))[::-1]
    kept: list[int] = []
    for number, (left, top, right, bottom) in enumerate(boxes.astype(float)):
        for other in kept:
            a, b, c, d = boxes[other].astype(float)
            common = max(min(right, c) - max(left, a), 0) * max(min(bottom, d) - max(top, b), 0)
            if common / ((right - left) * (bottom - top) + (c - a) * (d - b) - common) > overlap:
                break
        else:
            kept.append(number)
    assert without_doubles(boxes, scores, overlap).tolist() == kept


@pytest.mark.parametrize(
    "frame", [PLAIN[..., 0], PLAIN.astype(np.float32), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_frames_are_refused(frame: UInt8Array, tmp_path: Path) -> None:
    detector = Detector(write_graph(tmp_path / "d.onnx", {"output": graphs.yolov8()}))
    with pytest.raises(InputError, match=r"frame 1 is .*, expected uint8 BGR \[H, W, 3\]"):
        detector.detect([PLAIN, frame])


def test_values_that_are_no_numbers_are_an_error_in_any_frame(tmp_path: Path) -> None:
    columns, gains = graphs.yolov8(1), np.zeros((1, 5, CELLS))
    gains[0, 0, 0] = 3e38  # infinite from a sum of about 1
    look = np.full((3, SIDE, SIDE), 1, np.float32)
    detector = Detector(write_graph(tmp_path / "d.onnx", {"output": columns}, look=look, gains={"output": gains}))
    detector.detect([np.zeros((SIDE, SIDE, 3), np.uint8)])
    with pytest.raises(InputError, match="output output has values that are no numbers"):
        detector.detect([PLAIN])


def test_a_run_on_a_device_binds_all_inputs_and_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of CUDA, with the memory of the CPU as the device."""
    path = write_graph(tmp_path / "d.onnx", graphs.rt_detr(), sizes="boxes", shape=("n", 3, SIDE, SIDE))
    detector = Detector(path, min_height=0)
    monkeypatch.setattr(detector._network, "device", "cuda")
    monkeypatch.setattr(network, "to_device", lambda array, device: onnx_engine.to_device(array, "cpu"))
    monkeypatch.setattr(
        network, "run_on_device", lambda session, inputs, device: onnx_engine.run_on_device(session, inputs, "cpu")
    )
    for found in detector.detect([PLAIN, WIDE, PLAIN])[::2]:
        np.testing.assert_allclose(found.boxes, [BOX], atol=1e-3)


def test_devices_and_limits(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", {"output": graphs.yolov8()})
    with pytest.raises(BackendError, match="device is 'tpu'"):
        Detector(path, device="tpu")
    for wrong in (0, 1.5, float("nan")):
        with pytest.raises(InputError, match="min_score is"):
            Detector(path, min_score=wrong)
    with pytest.raises(InputError, match="min_height is -1"):
        Detector(path, min_height=-1)


def test_files_that_are_no_detectors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx: No such file"):
        Detector(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(BackendError, match=r"text\.onnx: .*cannot load the graph"):
        Detector(tmp_path / "text.onnx")
    gray = write_graph(tmp_path / "gray.onnx", {"output": graphs.yolov8()}, shape=(1, 1, SIDE, SIDE))
    with pytest.raises(InputError, match="expected one input for pictures"):
        Detector(gray)


def test_weights_in_a_second_file_are_named(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", {"output": graphs.yolov8()})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="d.onnx.data", size_threshold=10)
    with pytest.raises(BackendError, match=r"its weights are in d\.onnx\.data: export it again as one file"):
        Detector(path)


def test_a_drawing_shows_who_is_kept_and_who_is_not(tmp_path: Path) -> None:
    columns = np.zeros((1, 5, CELLS), np.float32)
    columns[0, :, 0], columns[0, :, 1] = (30, 80, 20, 60, 0.9), (90, 80, 20, 30, 0.8)
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    (found,) = Detector(write_graph(tmp_path / "d.onnx", {"output": columns}), min_height=0).detect([frame])
    drawn = draw_detections(frame, found, min_height=48)
    assert not frame.any()
    assert drawn.shape == frame.shape
    assert drawn[80, 20].tolist() == drawn[110, 30].tolist() == [0, 200, 0]
    assert drawn[80, 80].tolist() == drawn[95, 90].tolist() == [150, 150, 150]
    assert cv2.countNonZero(cv2.cvtColor(draw_detections(frame, found), cv2.COLOR_BGR2GRAY)) > 0
