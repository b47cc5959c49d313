"""Detectors that are drawn for tests: ONNX graphs whose outputs are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sal_runtime.arrays import AnyArray, Float32Array

SIDE = 128
"""Width and height of the canvas."""
CELLS = 16 * 16 + 8 * 8 + 4 * 4
LEFT, TOP, RIGHT, BOTTOM = BOX = (40.0, 60.0, 72.0, 108.0)
"""Where the person of these detectors is, in pixels of the canvas; its centre is 56, 84, and its size 32 x 48."""
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def write_graph(
    path: Path,
    outputs: Mapping[str, AnyArray],
    *,
    shape: Sequence[int | str] = (1, 3, SIDE, SIDE),
    input_name: str = "images",
    dtype: str = "float32",
    metadata: Mapping[str, str] | None = None,
    look: Float32Array | None = None,
    gains: Mapping[str, AnyArray] | None = None,
    sizes: str = "",
) -> Path:
    """A graph whose outputs are constants with as many pictures as it was given.

    Args:
        path: file to write.
        outputs: by name; the first axis is that of the pictures, and has length 1.
        shape: of the pictures; names are free.
        input_name: of the pictures.
        dtype: of the pictures.
        metadata: of the file.
        look: weights of a picture's values, as the input without its first axis; their sum is what the graph sees.
        gains: by name of an output: what is added to it for each unit that the graph sees.
        sizes: output that is multiplied by the second input, `orig_target_sizes`.
    """
    nodes, constants = [], []

    def constant(name: str, value: AnyArray) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    weights = np.zeros([length if isinstance(length, int) else 1 for length in shape[1:]], np.float32)
    weights = weights if look is None else look.astype(np.float32)
    nodes.append(helper.make_node("Cast", [input_name], ["pictures"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Mul", ["pictures", constant("look", weights)], ["weighted"]))
    axes = constant("axes", np.array([1, 2, 3], np.int64))
    nodes.append(helper.make_node("ReduceSum", ["weighted", axes], ["seen4"], keepdims=1))
    for name, value in outputs.items():
        gain = (gains or {}).get(name, np.zeros_like(value, np.float32)).astype(np.float32)
        target = constant(f"{name}/axes", np.array([-1] + [1] * (value.ndim - 1), np.int64))
        nodes.append(helper.make_node("Reshape", ["seen4", target], [f"{name}/seen"]))
        nodes.append(helper.make_node("Mul", [f"{name}/seen", constant(f"{name}/gain", gain)], [f"{name}/added"]))
        base = constant(f"{name}/base", value.astype(np.float32))
        nodes.append(helper.make_node("Add", [f"{name}/added", base], [f"{name}/float"]))
        last = f"{name}/float"
        if name == sizes:
            nodes.append(helper.make_node("Cast", ["orig_target_sizes"], ["sizes"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Concat", ["sizes", "sizes"], ["corners"], axis=1))
            nodes.append(helper.make_node("Unsqueeze", ["corners", constant("one", np.array([1]))], ["limits"]))
            nodes.append(helper.make_node("Mul", [last, "limits"], [f"{name}/pixels"]))
            last = f"{name}/pixels"
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        nodes.append(helper.make_node("Cast", [last], [name], to=kind))
    inputs = [helper.make_tensor_value_info(input_name, TYPES[dtype], shape)]
    if sizes:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [shape[0], 2]))
    found = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
        for name, value in outputs.items()
    ]
    graph = helper.make_graph(nodes, "detector", inputs, found, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def yolox_raw(classes: int = 80) -> Float32Array:
    """The person in the cell of column 3 and row 5 of the grid of stride 16: 0.9 * 0.8 sure."""
    rows = np.full((1, CELLS, 5 + classes), 0.01, np.float32)
    rows[..., :2], rows[..., 2:4] = 0.5, -0.5
    rows[0, 256 + 5 * 8 + 3, :6] = 0.5, 0.25, np.log(2), np.log(3), 0.9, 0.8
    return rows


def yolox_decoded(classes: int = 80) -> Float32Array:
    """The same person in pixels."""
    rows = np.full((1, CELLS, 5 + classes), 0.01, np.float32)
    cells = [(x, y, stride) for stride in (8, 16, 32) for y in range(SIDE // stride) for x in range(SIDE // stride)]
    rows[0, :, :4] = [((x + 0.5) * stride, (y + 0.5) * stride, stride, stride) for x, y, stride in cells]
    rows[0, 256 + 5 * 8 + 3, :6] = 56, 84, 32, 48, 0.9, 0.8
    return rows


def yolov5(classes: int = 80) -> Float32Array:
    """The person as anchor 7: 0.9 * 0.8 sure."""
    rows = np.full((1, 3 * CELLS, 5 + classes), 0.01, np.float32)
    rows[0, 7, :6] = 56, 84, 32, 48, 0.9, 0.8
    return rows


def yolov8(classes: int = 80, person: int = 0) -> Float32Array:
    """The person in cell 7: 0.72 sure."""
    columns = np.full((1, 4 + classes, CELLS), 0.01, np.float32)
    columns[0, :4, 7], columns[0, 4 + person, 7] = (56, 84, 32, 48), 0.72
    return columns


def end_to_end() -> Float32Array:
    """A car, and the person: 0.72 sure."""
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 0, 0, 100, 100, 0.9, 2
    rows[0, 1] = *BOX, 0.72, 0
    return rows


def rt_detr() -> dict[str, AnyArray]:
    """A car, and the person; boxes are fractions, to be multiplied by the sizes."""
    boxes, labels, scores = np.zeros((1, 300, 4)), np.full((1, 300), 79), np.zeros((1, 300))
    boxes[0, :2] = (0, 0, 1, 1), np.array(BOX) / SIDE
    labels[0, :2], scores[0, :2] = (2, 0), (0.9, 0.72)
    return {"labels": labels, "boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32)}


def rt_detr_ultralytics(classes: int = 80) -> Float32Array:
    """The person as query 7: 0.72 sure."""
    rows = np.full((1, 300, 4 + classes), 0.01, np.float32)
    rows[0, 7, :5] = 56 / SIDE, 84 / SIDE, 32 / SIDE, 48 / SIDE, 0.72
    return rows


def rf_detr(slots: int = 91) -> dict[str, Float32Array]:
    """The person as query 2, class 1, with the logit of 0.72; another class of it is surer."""
    boxes, logits = np.full((1, 5, 4), 0.5, np.float32), np.full((1, 5, slots), -9, np.float32)
    boxes[0, 2] = 56 / SIDE, 84 / SIDE, 32 / SIDE, 48 / SIDE
    logits[0, 2, 1], logits[0, 2, slots - 1], logits[0, 1, 0] = np.log(0.72 / 0.28), 3, 4
    return {"dets": boxes, "labels": logits}


def tensorflow_ssd() -> dict[str, Float32Array]:
    """A car of class 3, and the person of class 1."""
    boxes, labels, scores = np.zeros((1, 10, 4)), np.ones((1, 10)), np.zeros((1, 10))
    boxes[0, 1], boxes[0, 0] = np.array([TOP, LEFT, BOTTOM, RIGHT]) / SIDE, (0, 0, 1, 1)
    labels[0, 0], scores[0, :2] = 3, (0.9, 0.72)
    lists = {"detection_boxes:0": boxes, "detection_classes:0": labels, "detection_scores:0": scores}
    return {name: value.astype(np.float32) for name, value in lists.items()} | {
        "num_detections:0": np.array([2], np.float32)
    }
