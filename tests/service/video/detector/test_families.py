"""Every family is recognised or described, and gives the hand-computed person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_service.video.detector.detector import Detector
from tests.service.video.detector import graphs
from tests.service.video.detector.graphs import BOX, SIDE, write_graph

NAMES = {"names": str({0: "person", 1: "bicycle", 2: "car"}), "task": "detect", "license": "AGPL-3.0 License"}
ROW7 = np.array([[0, *BOX, 0.72, 0], [0, 0, 0, 99, 99, 0.9, 2]], np.float32)
FRACTIONS = np.array([*BOX], np.float32) / SIDE
RECOGNISED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "yolox-raw": ({"output": graphs.yolox_raw()}, {}),
    "yolox-raw of one class": ({"output": graphs.yolox_raw(1)}, {}),
    "yolox-decoded": ({"output": graphs.yolox_decoded()}, {}),
    "yolov5": ({"output": graphs.yolov5()}, {}),
    "yolov8": ({"output0": graphs.yolov8()}, {}),
    "yolov8 of one class": ({"output0": graphs.yolov8(1)}, {}),
    "yolov8 with names": ({"output0": graphs.yolov8(3)}, {"metadata": NAMES}),
    "end-to-end": ({"output0": graphs.end_to_end()}, {}),
    "end-to-end with names": ({"output0": graphs.end_to_end()}, {"metadata": NAMES}),
    "rt-detr": (graphs.rt_detr(), {"sizes": "boxes"}),
    "rt-detr-ultralytics": ({"output0": graphs.rt_detr_ultralytics()}, {}),
    "rt-detr-ultralytics of two classes": (
        {"output0": graphs.rt_detr_ultralytics(2)},
        {"metadata": {"names": "{0: 'person', 1: 'car'}", "head": "RTDETRDecoder"}},
    ),
    "rf-detr": (graphs.rf_detr(), {"input_name": "input"}),
    "ssd": (graphs.tensorflow_ssd(), {"shape": (1, SIDE, SIDE, 3), "dtype": "uint8", "input_name": "image_tensor:0"}),
}
LISTS = {
    "boxes": np.array([BOX, (0, 0, 99, 99)], np.float32),
    "labels": np.array([1, 3], np.int64),
    "scores": np.array([0.72, 0.9], np.float32),
}
DESCRIBED: dict[str, tuple[dict[str, Any], str]] = {
    "torchvision": (LISTS, "family = 'ssd'\nperson_class = 1"),
    "lists with other names": (
        {"a": LISTS["scores"], "b": LISTS["boxes"], "c": LISTS["labels"].astype(np.int32)},
        "family = 'ssd'\nperson_class = 1\noutputs = ['b', 'c', 'a']",
    ),
    "lists in fractions": (
        {**LISTS, "boxes": np.array([FRACTIONS, (0, 0, 1, 1)], np.float32)},
        "family = 'ssd'\nperson_class = 1\nboxes = 'fractions'",
    ),
    "yolo-nas": (
        {"flat": ROW7},
        "family = 'rows'\nperson_class = 0\ncolumns = ['image', 'left', 'top', 'right', 'bottom', 'score', 'class']",
    ),
    "yolov7 end2end": (
        {"output": ROW7[:, [0, 1, 2, 3, 4, 6, 5]]},
        "family = 'rows'\nperson_class = 0\ncolumns = ['image', 'left', 'top', 'right', 'bottom', 'class', 'score']",
    ),
    "openvino": (
        {
            "detection_out": np.array(
                [[[[0, 1, 0.72, *FRACTIONS], [-1, 0, 0, 0, 0, 0, 0], [7, 1, 1, *FRACTIONS]]]], np.float32
            )
        },
        "family = 'rows'\nperson_class = 1\nboxes = 'fractions'\n"
        "columns = ['image', 'class', 'score', 'left', 'top', 'right', 'bottom']",
    ),
    "people only": (
        {"people": np.array([[[*BOX, 0.72]]], np.float32)},
        "family = 'rows'\ncolumns = ['left', 'top', 'right', 'bottom', 'score']",
    ),
    "the same layout with other conventions": (
        {"logits": graphs.rf_detr(80)["labels"], "pred_boxes": graphs.rf_detr(80)["dets"]},
        "family = 'rf-detr'\nperson_class = 1\noutputs = ['pred_boxes', 'logits']\nmean = [0, 0, 0]\nstd = [1, 1, 1]",
    ),
    "one of several outputs": (
        {"output": graphs.yolov5(), "other": np.zeros((1, 4, 4), np.float32)},
        "family = 'yolov5'\noutputs = ['output']",
    ),
    "other class": ({"output0": graphs.yolov8(5, person=3)}, "person_class = 3"),
    "raw as stated": ({"output": graphs.yolox_raw()}, "family = 'yolox-raw'"),
    "decoded as stated": ({"output": graphs.yolox_decoded()}, "family = 'yolox-decoded'"),
}


def person_of(path: Path) -> Detector:
    """The detector, if it finds one person where it is."""
    detector = Detector(path, min_height=0)
    (found,) = detector.detect([np.zeros((SIDE, SIDE, 3), np.uint8)])
    np.testing.assert_allclose(found.boxes, [BOX], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.72], atol=1e-4)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    return detector


@pytest.mark.parametrize("name", RECOGNISED)
def test_a_family_is_recognised_by_itself(name: str, tmp_path: Path) -> None:
    outputs, options = RECOGNISED[name]
    detector = person_of(write_graph(tmp_path / "detector.onnx", outputs, **options))
    assert detector.family == name.partition(" ")[0]
    assert detector.sidecar is None
    assert bool(detector.notes) == ("metadata" not in options)  # the person class was a convention


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_family_is_described(name: str, tmp_path: Path) -> None:
    outputs, sidecar = DESCRIBED[name]
    path = write_graph(tmp_path / "detector.onnx", outputs)
    (tmp_path / "detector.toml").write_text(sidecar)
    assert person_of(path).sidecar == tmp_path / "detector.toml"


def test_metadata_say_license_and_person_class(tmp_path: Path) -> None:
    metadata = {**NAMES, "names": "{0: 'car', 1: 'Person'}", "imgsz": str([SIDE, SIDE])}
    shape = ("batch", 3, "height", "width")
    outputs = {"output0": graphs.yolov8(2, person=1)}
    detector = person_of(write_graph(tmp_path / "detector.onnx", outputs, metadata=metadata, shape=shape))
    assert detector.license == "AGPL-3.0 License"
    assert detector.input_size == (SIDE, SIDE)
    assert detector.description.person_class == 1


def test_half_precision(tmp_path: Path) -> None:
    person_of(write_graph(tmp_path / "detector.onnx", {"output0": graphs.yolov8()}, dtype="float16"))


def test_sizes_are_width_and_height_of_the_canvas(tmp_path: Path) -> None:
    """A canvas that is no square: the graph multiplies left and right by the first number."""
    path = write_graph(tmp_path / "d.onnx", graphs.rt_detr(), sizes="boxes", shape=(1, 3, 64, 256))
    (found,) = Detector(path, min_height=0).detect([np.zeros((64, 256, 3), np.uint8)])
    np.testing.assert_allclose(found.boxes, [[80, 30, 144, 54]], atol=1e-3)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "two families fit": (
        {"output": np.zeros((1, 84, 84), np.float32)},
        {"shape": (1, 3, 64, 64)},
        "may be of yolox (YOLOX, raw or decoded) or of yolov8 (YOLOv8, YOLOv9, YOLO11, YOLO12); nothing tells which",
    ),
    "no family fits": ({"heat": np.zeros((1, 16, 16), np.float32)}, {}, "its outputs are of no family"),
    "rows of seven": ({"output": ROW7}, {}, "its outputs are of no family"),
    "lists of unknown units": (LISTS, {}, "its outputs are of no family"),
    "two outputs": (
        {"a": graphs.yolov5(), "b": np.zeros((1, 4, 4), np.float32)},
        {},
        "its outputs are of no family",
    ),
    "which of many classes": ({"output0": graphs.yolov8(20)}, {}, "nothing says which of its 20 classes is a person"),
    "no class is a person": (
        {"output0": graphs.yolov8(2)},
        {"metadata": {"names": "{0: 'car', 1: 'bus'}"}},
        "none of its classes is named person: 0 car, 1 bus",
    ),
    "several classes are people": (
        {"output0": graphs.yolov8(2)},
        {"metadata": {"names": "['pedestrian', 'people']"}},
        "several of its classes are people",
    ),
    "another task": ({"output0": graphs.yolov8()}, {"metadata": {"task": "pose"}}, "its task is pose"),
    "more names than classes": ({"output0": graphs.yolov8(2)}, {"metadata": NAMES}, "its outputs are of no family"),
    "free size": (
        {"output0": graphs.yolov8()},
        {"shape": (1, 3, "h", "w")},
        "the graph leaves the width of its pictures free",
    ),
    "rf-detr of two slots": (graphs.rf_detr(2), {}, "nothing says which of its 2 classes is a person"),
    "yolox that is neither": (
        {"output": np.full((1, graphs.CELLS, 85), 500, np.float32)},
        {},
        "neither raw nor decoded",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused_with_all_that_was_seen(name: str, tmp_path: Path) -> None:
    outputs, options, reason = REFUSED[name]
    path = write_graph(tmp_path / "mine.onnx", outputs, **options)
    with pytest.raises(InputError) as error:
        Detector(path)
    text = str(error.value)
    assert reason in text
    assert "input   images float32 [1, 3, " in text
    for output in outputs:
        assert f"output  {output} " in text
    for key, value in options.get("metadata", {"no metadata": ""}).items():
        assert f"  {key}" in text
        assert value in text
    assert "# mine.toml" in text
    assert "person_class = " in text


def test_the_sidecar_of_the_message_can_be_used(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "mine.onnx", {"output0": graphs.yolov8(20)})
    with pytest.raises(InputError) as error:
        Detector(path)
    sidecar = str(error.value).partition("# mine.toml")[2]
    (tmp_path / "mine.toml").write_text(sidecar)
    with pytest.raises(InputError, match="nothing says which of its 20 classes is a person"):
        Detector(path)  # what is unknown is a comment: who pastes it as it is has stated nothing
    (tmp_path / "mine.toml").write_text(sidecar.replace("# person_class", "person_class"))
    assert person_of(path).notes == ()


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "class": ({"o": graphs.yolov8()}, "person_class = 80", "person_class is 80, but the output has 80 classes"),
    "family of other columns": ({"o": graphs.yolov8()}, "family = 'yolox-raw'\nperson_class = 0", "has 84 cells"),
    "family of other rank": ({"o": ROW7}, "family = 'yolov8'\nperson_class = 0", "expected one output [n, 4 + cl"),
    "raw as decoded": (
        {"o": graphs.yolox_raw()},
        "family = 'yolox-decoded'\nperson_class = 0",
        "some sizes are below 0, expected pixels; state yolox-raw",
    ),
    "decoded as raw": (
        {"o": graphs.yolox_decoded()},
        "family = 'yolox-raw'\nperson_class = 0",
        "expected logarithms; state yolox-decoded",
    ),
    "end-to-end with classes between": (
        {"o": np.full((1, 300, 6), 0.5, np.float32)},
        "family = 'end-to-end'\nperson_class = 0",
        "classes are not whole numbers",
    ),
    "pixels as fractions": (
        LISTS,
        "family = 'ssd'\nperson_class = 1\nboxes = 'fractions'",
        "boxes are up to 108, expected fractions",
    ),
    "fractions as pixels": (
        {**LISTS, "boxes": LISTS["boxes"] / SIDE},
        "family = 'ssd'\nperson_class = 1",
        "boxes are at most 0.844, expected pixels of the canvas; maybe they are fractions",
    ),
    "logits": ({"o": graphs.yolov8() * 4}, "person_class = 0", "scores are from 0.04 to 2.88, expected 0..1"),
    "columns": ({"o": ROW7}, "family = 'rows'\ncolumns = ['left', 'top']", "expected each of left, top, right, bottom"),
    "number of columns": (
        {"o": ROW7},
        "family = 'rows'\ncolumns = ['left', 'top', 'right', 'bottom', 'score']",
        "has shape [2, 7], but the description has 5 columns",
    ),
    "missing output": ({"o": graphs.yolov8()}, "outputs = ['x']", "there is no output x; outputs are o"),
    "width": ({"o": graphs.yolov8()}, "width = 640", "width is 640 in its sidecar, 128 in its graph"),
    "batch": ({"o": graphs.yolov8()}, "batch = 4", "batch is 4 in its sidecar, but its graph takes 1"),
    "nan": ({"o": np.full((1, 84, graphs.CELLS), np.nan, np.float32)}, "person_class = 0", "no numbers (NaN"),
}


@pytest.mark.parametrize("name", WRONG)
def test_outputs_that_contradict_the_description_are_refused(name: str, tmp_path: Path) -> None:
    outputs, sidecar, reason = WRONG[name]
    path = write_graph(tmp_path / "d.onnx", outputs)
    (tmp_path / "d.toml").write_text(sidecar)
    with pytest.raises(InputError) as error:
        Detector(path)
    assert reason in str(error.value)
    assert str(path) in str(error.value)
