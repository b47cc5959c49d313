"""What must be known of a detector besides its graph, and the conventions of the published families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

FamilyName = Literal[
    "yolox",
    "yolox-raw",
    "yolox-decoded",
    "yolov5",
    "yolov8",
    "end-to-end",
    "rt-detr",
    "rt-detr-ultralytics",
    "rf-detr",
    "ssd",
    "rows",
]
Column = Literal["image", "left", "top", "right", "bottom", "score", "class", "unused"]
COCO_CLASSES = 80
COCO_SLOTS = 91
"""Some detectors keep the original numbers of COCO's categories: 0 is unused, and 1 is a person."""
NO_SUPPRESSION = 1.0


@dataclass(frozen=True, slots=True)
class Description:
    """How a detector wants its pictures, and what its outputs mean. The fields are the keys of a sidecar.

    Attributes:
        family: layout of the outputs.
        person_class: number of the class that is a person, from 0.
        width: width of the network's canvas in pixels.
        height: height of the network's canvas in pixels.
        colour: order of the colours.
        divide_by: pixels 0..255 are divided by this: 255 where the network wants 0..1.
        mean: subtracted after the division, for each colour in the order of `colour`.
        std: the difference is divided by this.
        fit: how a frame gets onto the canvas: stretched to it; or in its own proportions, in the top left corner or
            in the centre.
        padding: value in 0..255 of the canvas beside the frame.
        overlap: boxes that overlap a better one by more than this intersection over union are left out; 1 leaves out
            none.
        boxes: unit of the boxes of `ssd` and `rows`: pixels of the canvas, or fractions of it.
        corners: order in the boxes of `ssd`.
        columns: meaning of the columns of `rows`.
        outputs: names of the outputs that are read; empty where the family's own names or shapes tell. `ssd` reads
            boxes, labels and scores, in this order.
        batch: largest number of frames in a run; 0 for what the graph takes.
        license: terms of the weights, for reports; empty if unknown.
    """

    family: FamilyName
    person_class: int
    width: int
    height: int
    colour: Literal["rgb", "bgr"]
    divide_by: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Literal["stretch", "top-left", "centre"]
    padding: int
    overlap: float
    boxes: Literal["pixels", "fractions"] = "pixels"
    corners: Literal["xyxy", "yxyx"] = "xyxy"
    columns: tuple[Column, ...] = ()
    outputs: tuple[str, ...] = ()
    batch: int = 0
    license: str = ""

    def in_words(self) -> str:
        """The conventions in one line, for reports and warnings."""
        words = [self.family, f"{self.width} x {self.height}", self.colour.upper(), f"pixels / {self.divide_by:g}"]
        if any(self.mean) or set(self.std) != {1.0}:
            words.append(f"mean {list(self.mean)}, std {list(self.std)}")
        words.append("stretched" if self.fit == "stretch" else f"{self.fit} on {self.padding}")
        return ", ".join([*words, f"a person is class {self.person_class}"])


@dataclass(frozen=True, slots=True)
class Family:
    """A layout of outputs that is published, and how pictures are prepared for it.

    Attributes:
        title: which detectors have it.
        conventions: settings of `Description` that hold unless a sidecar says otherwise.
        people: number of the person class by the number of classes, in the published weights; None is the key where
            the outputs do not tell the number of classes.
        doubt: a convention that weights of this family differ in, though nothing in a file tells; for reports.
    """

    title: str
    conventions: Mapping[str, Any]
    people: Mapping[int | None, int] = field(default_factory=dict)
    doubt: str = ""


_PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "padding": 114, "overlap": NO_SUPPRESSION}
_YOLOX = {**_PLAIN, "colour": "bgr", "divide_by": 1.0, "fit": "top-left", "overlap": 0.45}
_ULTRALYTICS = {**_PLAIN, "colour": "rgb", "divide_by": 255.0, "fit": "centre"}
_STRETCHED = {**_PLAIN, "colour": "rgb", "divide_by": 255.0, "fit": "stretch"}
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_OLD_YOLOX = "pixels are fed as YOLOX wants them since 0.1.1; earlier weights want RGB with mean and std of ImageNet"
_LARGE_DEIM = "pixels are fed as 0..1; DEIMv2 of the sizes S to X wants mean and std of ImageNet"
_OF_COCO: Mapping[int | None, int] = {COCO_CLASSES: 0}

FAMILIES: Mapping[str, Family] = {
    "yolox": Family("YOLOX, raw or decoded", _YOLOX, _OF_COCO, _OLD_YOLOX),
    "yolox-raw": Family("YOLOX as its own export writes it", _YOLOX, _OF_COCO),
    "yolox-decoded": Family("YOLOX exported with decode_in_inference", _YOLOX, _OF_COCO),
    "yolov5": Family("YOLOv5, YOLOv7", {**_ULTRALYTICS, "overlap": 0.45}, _OF_COCO),
    "yolov8": Family("YOLOv8, YOLOv9, YOLO11, YOLO12", {**_ULTRALYTICS, "overlap": 0.7}, _OF_COCO),
    "end-to-end": Family("YOLOv10, YOLO26, and YOLO exported with suppression", _ULTRALYTICS, {None: 0}),
    "rt-detr": Family("RT-DETR, D-FINE, DEIM with their own postprocessor", _STRETCHED, {None: 0}, _LARGE_DEIM),
    "rt-detr-ultralytics": Family("RT-DETR as Ultralytics exports it", _STRETCHED, _OF_COCO),
    "rf-detr": Family("RF-DETR", {**_STRETCHED, **_IMAGENET}, {COCO_SLOTS: 1}),
    "ssd": Family("lists of boxes, labels and scores: SSD and others", _STRETCHED),
    "rows": Family("a row for each object, with columns that the sidecar names", _STRETCHED),
}
assert tuple(FAMILIES) == get_args(FamilyName)
