"""The outputs of each family as boxes and scores of people.

Every decoder takes the outputs of a run by name, and the description. It returns boxes float32 `[n, m, 4]`: left, top,
right, bottom in pixels of the canvas; and scores float32 `[n, m]`: how sure the detector is that a person is there, 0
where it saw something else. They raise InputError on outputs that are not of their family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array
from sal_runtime.errors import InputError
from sal_service.video.detector.description import Description

Outputs = Mapping[str, AnyArray]
Decode = Callable[[Outputs, Description], tuple[Float32Array, Float32Array]]

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Pixels of the canvas per cell, for each grid of a YOLO: the usual ones, with a coarser one, with a finer one."""
LARGEST_LOGARITHM = 12
"""A raw YOLOX width beyond this would be a million pixels."""
NEAR_ITS_CELL = 4
"""A YOLOX box is about an object whose centre is within some cells of its own one."""
LIST_NAMES = (
    ("detection_boxes", "boxes", "bboxes", "det_boxes"),
    ("detection_classes", "labels", "classes", "class_ids", "det_classes"),
    ("detection_scores", "scores", "det_scores"),
)
"""Names of the outputs of lists: boxes, labels, scores."""


def grid_cells(width: int, height: int, strides: tuple[int, ...]) -> int:
    """Number of cells of all grids of a YOLO."""
    return sum((width // stride) * (height // stride) for stride in strides)


def which_yolox(outputs: Outputs, description: Description) -> Literal["yolox-raw", "yolox-decoded"]:
    """Whether the boxes of a YOLOX are raw or decoded: both have the same shape, so the values of any picture tell.

    Decoded centres are near their cells, in pixels; raw centres are some cells at most, and raw sizes are logarithms.

    Raises:
        InputError: the values are neither.
    """
    rows = _single(outputs, description, "[n, cells, 5 + classes]")
    cells, strides = _grid(rows.shape[1], description)
    raw = float(np.median(np.abs(rows[..., :2] - 0.5).max(-1)))
    decoded = float(np.median(np.abs(rows[..., :2] / strides - cells - 0.5).max(-1)))
    sizes = rows[..., 2:4]
    if decoded < min(raw, NEAR_ITS_CELL) and sizes.min() >= 0:
        return "yolox-decoded"
    if raw < min(decoded, NEAR_ITS_CELL) and sizes.max() < LARGEST_LOGARITHM:
        return "yolox-raw"
    raise InputError(
        f"family yolox: the values are neither raw nor decoded boxes: centres are {raw:.3g} cells off if raw, "
        f"{decoded:.3g} if decoded, and sizes are from {sizes.min():.3g} to {sizes.max():.3g}; state another family"
    )


def yolox_raw(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """YOLOX: `[n, cells, 5 + classes]`: centre in cells from its own, logarithm of size in cells, objectness, classes.

    Source: Megvii-BaseDetection/YOLOX, yolox/utils/demo_utils.py (demo_postprocess).
    """
    rows = _single(outputs, description, "[n, cells, 5 + classes]")
    cells, strides = _grid(rows.shape[1], description)
    if rows[..., 2:4].max() > LARGEST_LOGARITHM:
        raise InputError(
            f"family yolox-raw: sizes are up to {rows[..., 2:4].max():.3g}, expected logarithms; state yolox-decoded"
        )
    centres, sizes = (rows[..., :2] + cells) * strides, np.exp(rows[..., 2:4]) * strides
    return _corners(centres, sizes), rows[..., 4] * _person(rows[..., 5:], description)


def yolox_decoded(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """YOLOX exported with decode_in_inference: `[n, cells, 5 + classes]`: centre and size in pixels, the rest as raw.

    Source: Megvii-BaseDetection/YOLOX, yolox/models/yolo_head.py (decode_outputs).
    """
    rows = _single(outputs, description, "[n, cells, 5 + classes]")
    _grid(rows.shape[1], description)
    if rows[..., 2:4].min() < 0:
        raise InputError("family yolox-decoded: some sizes are below 0, expected pixels; state yolox-raw")
    return _corners(rows[..., :2], rows[..., 2:4]), rows[..., 4] * _person(rows[..., 5:], description)


def yolov5(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """YOLOv5, YOLOv7: `[n, anchors, 5 + classes]`: centre and size in pixels, objectness, classes.

    Source: ultralytics/yolov5, utils/general.py (non_max_suppression).
    """
    rows = _single(outputs, description, "[n, anchors, 5 + classes]")
    return _corners(rows[..., :2], rows[..., 2:4]), rows[..., 4] * _person(rows[..., 5:], description)


def yolov8(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """YOLOv8 and later: `[n, 4 + classes, cells]`: centre and size in pixels, classes, no objectness.

    Source: ultralytics/ultralytics, examples/YOLOv8-ONNXRuntime/main.py.
    """
    rows = _single(outputs, description, "[n, 4 + classes, cells]").swapaxes(1, 2)
    return _corners(rows[..., :2], rows[..., 2:4]), _person(rows[..., 4:], description)


def end_to_end(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """YOLOv10, YOLO26: `[n, m, 6]`: left, top, right, bottom in pixels, score, class.

    Source: THU-MIG/yolov10, ultralytics/utils/ops.py (v10postprocess); the exporter of ultralytics with nms=True.
    """
    rows = _single(outputs, description, "[n, m, 6]")
    if rows.shape[2] != 6:
        raise InputError(f"family end-to-end: the output has {rows.shape[2]} columns, expected 6")
    labels = _whole(rows[..., 5])
    return rows[..., :4], np.where(labels == description.person_class, rows[..., 4], np.float32(0))


def rt_detr(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """RT-DETR, D-FINE, DEIM: labels `[n, m]`, boxes `[n, m, 4]`: corners in pixels of the given size, scores `[n, m]`.

    The canvas is given as the size: so it makes no difference whether an export takes width or height first as long as
    the canvas is a square. Source: Peterande/D-FINE, tools/inference/onnx_inf.py.
    """
    names = description.outputs or ("boxes", "labels", "scores")
    boxes, labels, scores = _lists(outputs, names)
    return boxes, np.where(labels == description.person_class, scores, np.float32(0))


def rt_detr_ultralytics(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """RT-DETR of Ultralytics: `[n, queries, 4 + classes]`: centre and size as fractions, classes.

    Source: ultralytics/ultralytics, examples/RTDETR-ONNXRuntime-Python/main.py.
    """
    rows = _single(outputs, description, "[n, queries, 4 + classes]")
    _check_fractions(rows[..., :4], description)
    return _corners(rows[..., :2], rows[..., 2:4]) * _canvas(description), _person(rows[..., 4:], description)


def rf_detr(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """RF-DETR: dets `[n, queries, 4]`: centre and size as fractions; labels `[n, queries, classes]`: logits.

    Each class has its own sigmoid. Source: roboflow/rf-detr, src/rfdetr/export/_runtime/decode.py.
    """
    boxes, logits = (_named(outputs, name, 3) for name in (description.outputs or ("dets", "labels")))
    if boxes.shape[2] != 4:
        raise InputError(f"family rf-detr: dets has shape {list(boxes.shape)}, expected [n, queries, 4]")
    _check_fractions(boxes, description)
    logits = np.clip(_person(logits, description), -80, 80)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32, copy=False)
    return _corners(boxes[..., :2], boxes[..., 2:]) * _canvas(description), scores


def ssd(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """Lists: boxes `[n, m, 4]`, labels `[n, m]`, scores `[n, m]`; the description says unit and order of the corners.

    Source: the TensorFlow Object Detection API (detection_boxes as top, left, bottom, right in fractions);
    torchvision.models.detection (boxes in pixels, no axis for pictures); onnx/models, ssd (fractions).
    """
    names = description.outputs or tuple(_first(outputs, known) for known in LIST_NAMES)
    boxes, labels, scores = _lists(outputs, names)
    if description.corners == "yxyx":
        boxes = boxes[..., [1, 0, 3, 2]]
    if description.boxes == "fractions":
        _check_fractions(boxes, description)
        boxes = boxes * _canvas(description)
    return boxes, np.where(_whole(labels) == description.person_class, scores, np.float32(0))


def table_rows(outputs: Outputs, description: Description) -> tuple[Float32Array, Float32Array]:
    """A row for each object: `[m, columns]`, `[n, m, columns]` or `[1, 1, m, columns]`; the description names columns.

    A column `image` is the number of the picture; such graphs get one picture in a run, and a row with -1 ends the
    list. Source: YOLO-NAS (flat format), YOLOv7 (end2end), SSD as OpenVINO and Caffe write it (DetectionOutput).
    """
    columns = description.columns
    value = _value(outputs, (description.outputs or tuple(outputs))[0])
    if value.ndim == 4 and value.shape[:2] == (1, 1):
        value = value[0, 0]
    if value.ndim not in (2, 3) or value.shape[-1] != len(columns):
        raise InputError(
            f"family rows: the output has shape {list(value.shape)}, but the description has {len(columns)} columns"
        )
    if "image" in columns:
        value = _of_one_picture(value.reshape(-1, len(columns)), columns.index("image"))
    value = _floats(value if value.ndim == 3 else value[None], "the output")
    boxes = np.stack([value[..., columns.index(side)] for side in ("left", "top", "right", "bottom")], axis=-1)
    scores = value[..., columns.index("score")]
    if "class" in columns:
        is_person = _whole(value[..., columns.index("class")]) == description.person_class
        scores = np.where(is_person, scores, np.float32(0))
    if description.boxes == "fractions":
        _check_fractions(boxes, description)
        boxes = boxes * _canvas(description)
    return boxes, scores


DECODERS: Mapping[str, Decode] = {
    "yolox-raw": yolox_raw,
    "yolox-decoded": yolox_decoded,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "end-to-end": end_to_end,
    "rt-detr": rt_detr,
    "rt-detr-ultralytics": rt_detr_ultralytics,
    "rf-detr": rf_detr,
    "ssd": ssd,
    "rows": table_rows,
}


def _single(outputs: Outputs, description: Description, expected: str) -> Float32Array:
    """The output of a family that has one: the one that is named, or the only one with three axes."""
    names = description.outputs or tuple(name for name, value in outputs.items() if value.ndim == 3)
    if len(names) != 1:
        shapes = "; ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        raise InputError(f"family {description.family}: expected one output {expected}, got {shapes}")
    value = _named(outputs, names[0], 3)
    if min(value.shape) == 0 and description.family != "end-to-end":
        raise InputError(f"family {description.family}: output {names[0]} is empty: {list(value.shape)}")
    return value


def _value(outputs: Outputs, name: str) -> AnyArray:
    if name not in outputs:
        raise InputError(f"there is no output {name}; outputs are {', '.join(outputs)}")
    return outputs[name]


def _named(outputs: Outputs, name: str, rank: int) -> Float32Array:
    value = _value(outputs, name)
    if value.ndim != rank:
        raise InputError(f"output {name} has shape {list(value.shape)}, expected {rank} axes")
    return _floats(value, f"output {name}")


def _floats(value: AnyArray, title: str) -> Float32Array:
    floats = value.astype(np.float32, copy=False)
    if not np.isfinite(floats).all():
        raise InputError(f"{title} has values that are no numbers (NaN or infinite)")
    return floats


def _first(outputs: Outputs, known: tuple[str, ...]) -> str:
    """The output with one of the known names, as TensorFlow and others write them."""
    plain = {name.partition(":")[0]: name for name in outputs}
    for name in known:
        if name in plain:
            return plain[name]
    raise InputError(f"no output is named {' or '.join(known)}; name boxes, labels and scores in `outputs`")


def _lists(outputs: Outputs, names: tuple[str, ...]) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Boxes `[n, m, 4]`, labels and scores `[n, m]`; without an axis for pictures there is one picture."""
    if len(names) != 3:
        raise InputError(f"outputs names {len(names)} outputs, expected those of boxes, labels and scores")
    values = [_value(outputs, name) for name in names]
    if values[0].ndim == 2:
        values = [value[None] for value in values]
    boxes, labels, scores = (_floats(value, f"output {name}") for value, name in zip(values, names, strict=True))
    if boxes.ndim != 3 or boxes.shape[2] != 4 or not boxes.shape[:2] == labels.shape == scores.shape:
        shapes = "; ".join(f"{name} {list(value.shape)}" for name, value in zip(names, values, strict=True))
        raise InputError(f"got {shapes}; expected boxes [n, m, 4], labels [n, m], scores [n, m]")
    return boxes, labels, scores


def _of_one_picture(value: AnyArray, column: int) -> AnyArray:
    """Rows `[m, columns]` of the first picture: all up to one that is marked with -1."""
    ends = np.flatnonzero(value[:, column] < 0)
    value = value[: ends[0]] if len(ends) else value
    if (value[:, column] != 0).any():
        raise InputError(
            f"column image has values from {value[:, column].min()} to {value[:, column].max()}, expected 0"
        )
    return value


def _grid(count: int, description: Description) -> tuple[Float32Array, Float32Array]:
    """Column and row of each cell `[cells, 2]`, and the pixels per cell `[cells, 1]`, grid after grid."""
    width, height = description.width, description.height
    for strides in STRIDES:
        if count == grid_cells(width, height, strides):
            shapes = [(width // stride, height // stride) for stride in strides]
            cells = [np.stack(np.meshgrid(range(w), range(h)), axis=-1).reshape(-1, 2) for w, h in shapes]
            sides = [np.full((w * h, 1), stride) for (w, h), stride in zip(shapes, strides, strict=True)]
            return np.concatenate(cells).astype(np.float32), np.concatenate(sides).astype(np.float32)
    expected = ", ".join(str(grid_cells(width, height, strides)) for strides in STRIDES)
    raise InputError(
        f"family {description.family}: the output has {count} cells; a canvas of {width} x {height} has {expected}"
    )


def _person(classes: Float32Array, description: Description) -> Float32Array:
    """The column of the person class in `[..., classes]`."""
    count, number = classes.shape[-1], description.person_class
    if number >= count:
        raise InputError(f"person_class is {number}, but the output has {count} classes, from 0")
    column: Float32Array = classes[..., number]
    return column


def _whole(labels: Float32Array) -> Float32Array:
    """The labels, if they are whole numbers."""
    if (labels != np.round(labels)).any():
        raise InputError("classes are not whole numbers; the outputs are of another family")
    return labels


def _check_fractions(boxes: Float32Array, description: Description) -> None:
    if boxes.size and boxes.max() > 2:
        raise InputError(
            f"family {description.family}: boxes are up to {boxes.max():.0f}, expected fractions of the canvas"
        )


def _canvas(description: Description) -> Float32Array:
    return np.array([description.width, description.height] * 2, np.float32)


def _corners(centres: Float32Array, sizes: Float32Array) -> Float32Array:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)
