"""What a detector is: by its sidecar, and where that does not say it, by names, shapes and metadata.

Nothing is guessed silently: what has two meanings, or none that is known, is refused with all that was seen and with a
sidecar to fill in; what is taken from the convention of a family is noted.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sal_runtime.errors import InputError
from sal_service.video.detector.decoders import LIST_NAMES, STRIDES, Outputs, grid_cells, which_yolox
from sal_service.video.detector.description import FAMILIES, Description
from sal_service.video.detector.network import Network
from sal_service.video.detector.sidecar import template

PEOPLE = ("person", "people", "persons", "pedestrian", "pedestrians", "human", "humans")
"""Names of classes that are people."""
ANCHORS_PER_CELL = 3
"""YOLOv5 and v7 predict this many boxes in each cell."""
MOST_QUERIES = 1000
"""Detectors that need no suppression give at most so many boxes."""
TENSORFLOW = {"boxes": "fractions", "corners": "yxyx", "divide_by": 1.0, "person_class": 1}
"""Conventions of the TensorFlow Object Detection API beyond those of `ssd`."""


def canvas_size(network: Network, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of the pictures that the network takes.

    Args:
        network: the detector.
        settings: its sidecar.

    Raises:
        InputError: nothing says the size, or the sidecar contradicts the graph.
    """
    stated = _literal(network.metadata.get("imgsz", ""))
    by_exporter = tuple(stated) if isinstance(stated, list) and len(stated) == 2 else (None, None)
    found = []
    for key, of_graph, of_exporter in (
        ("width", network.width, by_exporter[1]),
        ("height", network.height, by_exporter[0]),
    ):
        length = settings.get(key) or of_graph or of_exporter
        if not isinstance(length, int):
            raise refusal(network, f"the graph leaves the {key} of its pictures free, and nothing says it", settings)
        if of_graph and length != of_graph:
            raise InputError(f"detector {network.path}: {key} is {length} in its sidecar, {of_graph} in its graph")
        found.append(length)
    return found[0], found[1]


def describe(
    network: Network, settings: Mapping[str, Any], size: tuple[int, int], outputs: Outputs
) -> tuple[Description, tuple[str, ...]]:
    """What a detector is, and notes on what was taken from conventions.

    Args:
        network: the detector.
        settings: its sidecar.
        size: width and height of its pictures.
        outputs: of a run on any picture.

    Raises:
        InputError: the family or the person class is not certain, or the settings contradict each other.
    """
    known: dict[str, Any] = {"width": size[0], "height": size[1], **settings}
    if network.metadata.get("license"):
        known.setdefault("license", network.metadata["license"])
    found = {} if "family" in settings else _recognise(network, known, outputs)
    known = {**found, **known}
    family = FAMILIES[known["family"]]
    known = {**family.conventions, **known}
    notes = [family.doubt] if family.doubt and not {"family", "mean", "divide_by"} & settings.keys() else []
    if network.picture.dtype == "uint8":
        notes = _take_bytes(network, settings, known)
    if "person_class" not in settings:
        note = _find_person(network, known, outputs)
        notes += [note] if note else []
    _check_settings(network, known)
    description = Description(**known)
    if description.family == "yolox":
        try:
            description = replace(description, family=which_yolox(outputs, description))
        except InputError as error:
            raise refusal(network, str(error), known, outputs) from error
    return description, tuple(notes)


def refusal(network: Network, reason: str, settings: Mapping[str, Any], outputs: Outputs | None = None) -> InputError:
    """An error that lists what was seen, and gives a sidecar to fill in."""
    return InputError(
        f"detector {network.path}: {reason}\n{network.listing(outputs)}\n"
        f"Write a sidecar beside it, such as this one; state what is a comment, and correct what is not so:\n\n"
        f"{template(network.path, settings)}"
    )


def _recognise(network: Network, settings: Mapping[str, Any], outputs: Outputs) -> dict[str, Any]:
    """The family, and settings that go with it."""
    task = network.metadata.get("task", "detect")
    if task != "detect":
        raise refusal(network, f"its metadata says that its task is {task}, expected detect", settings, outputs)
    if network.sizes is not None:
        candidates = ["rt-detr"] if {"labels", "boxes", "scores"} <= outputs.keys() else []
    elif {known[0] for known in LIST_NAMES} <= {name.partition(":")[0] for name in outputs}:
        return {"family": "ssd", **TENSORFLOW}
    elif {"dets", "labels"} <= outputs.keys() and outputs["dets"].ndim == outputs["labels"].ndim == 3:
        candidates = ["rf-detr"]
    else:
        candidates = _by_shape(network, settings, outputs)
    if len(candidates) != 1:
        named = " or of ".join(f"{name} ({FAMILIES[name].title})" for name in candidates)
        reason = f"its outputs may be of {named}" if candidates else "its outputs are of no family"
        unsure = "; nothing tells which" if candidates else " that is recognised by itself"
        raise refusal(network, f"{reason}{unsure}", settings, outputs)
    return {"family": candidates[0]}


def _by_shape(network: Network, settings: Mapping[str, Any], outputs: Outputs) -> list[str]:
    """Families whose single output `[n, a, b]` has such a shape, and as many classes as the metadata name."""
    shapes = [value.shape for value in outputs.values() if value.ndim == 3]
    if len(shapes) != 1 or any(value.ndim < 3 for value in outputs.values()):
        return []
    _, a, b = shapes[0]
    cells = {grid_cells(settings["width"], settings["height"], strides) for strides in STRIDES}
    anchors = {ANCHORS_PER_CELL * count for count in cells}
    is_transformer = "detr" in (network.metadata.get("head", "") + network.metadata.get("description", "")).lower()
    may_be = {
        "yolox": a in cells and b >= 6,
        "yolov5": a in anchors and b >= 6,
        "yolov8": b in cells and a >= 5,
        "end-to-end": a <= MOST_QUERIES and b == 6 and a not in cells | anchors and not is_transformer,
        "rt-detr-ultralytics": a <= MOST_QUERIES and a not in cells | anchors and (is_transformer or b == 84) and b > 4,
    }
    names = _class_names(network)
    return [
        family
        for family, fits in may_be.items()
        if fits and (not names or _num_classes(family, outputs) in (None, len(names)))
    ]


def _num_classes(family: str, outputs: Outputs) -> int | None:
    """Number of classes by the shape of the outputs; None if it does not tell."""
    shape = next((value.shape for value in outputs.values() if value.ndim == 3), None)
    if shape is None:
        return None
    if family == "rf-detr":
        return outputs["labels"].shape[-1] if "labels" in outputs else None
    return {
        "yolox": shape[2] - 5,
        "yolox-raw": shape[2] - 5,
        "yolox-decoded": shape[2] - 5,
        "yolov5": shape[2] - 5,
        "yolov8": shape[1] - 4,
        "rt-detr-ultralytics": shape[2] - 4,
    }.get(family)


def _find_person(network: Network, known: dict[str, Any], outputs: Outputs) -> str:
    """Set the person class; returns a note if it is a convention."""
    names = _class_names(network)
    if names:
        people = [number for number, name in names.items() if name.lower() in PEOPLE]
        if len(people) != 1:
            listed = ", ".join(f"{number} {name}" for number, name in list(names.items())[:10])
            which = "none of its classes is named person" if not people else "several of its classes are people"
            raise refusal(network, f"{which}: {listed}{', ...' if len(names) > 10 else ''}", known, outputs)
        known["person_class"] = people[0]
        return ""
    if "person_class" in known:  # of the conventions of lists
        return f"class {known['person_class']} is taken to be a person, as these exports number the classes of COCO"
    if known["family"] == "rows" and "class" not in known.get("columns", ()):
        known["person_class"] = 0
        return ""
    count = _num_classes(known["family"], outputs)
    if count == 1:
        known["person_class"] = 0
        return "its only class is taken to be a person"
    people_by_count = FAMILIES[known["family"]].people
    if count not in people_by_count:
        told = "which class is a person" if count is None else f"which of its {count} classes is a person"
        raise refusal(network, f"its family is {known['family']}, but nothing says {told}", known, outputs)
    known["person_class"] = people_by_count[count]
    return f"class {known['person_class']} is taken to be a person, as in the published weights of {known['family']}"


def _take_bytes(network: Network, settings: Mapping[str, Any], known: dict[str, Any]) -> list[str]:
    """A graph that takes uint8 normalises by itself."""
    plain = {"divide_by": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    wrong = [key for key, value in plain.items() if settings.get(key, value) != value]
    if wrong:
        raise InputError(
            f"detector {network.path}: its sidecar sets {', '.join(wrong)}, but its graph takes whole numbers 0..255"
        )
    known.update(plain)
    return ["its graph takes pixels 0..255 as whole numbers; it is expected to normalise them by itself"]


def _check_settings(network: Network, known: Mapping[str, Any]) -> None:
    if known["family"] == "rows":
        columns = known.get("columns", ())
        sides = ("left", "top", "right", "bottom", "score")
        doubled = [column for column in columns if column != "unused" and columns.count(column) > 1]
        if doubled or not set(sides) <= set(columns):
            raise refusal(
                network,
                f"family rows: columns are {', '.join(columns) or 'not stated'}; expected each of {', '.join(sides)} "
                "once, and perhaps image, class and unused",
                {**known, "columns": ("image", "left", "top", "right", "bottom", "score", "class")},
            )
        if "image" in columns and (network.batch or 1) > 1:
            raise InputError(
                f"detector {network.path}: its graph takes {network.batch} pictures in a run; rows with a column image "
                "are read of graphs for one picture"
            )
    batch = known.get("batch", 0)
    if batch and network.batch and batch != network.batch:
        raise InputError(
            f"detector {network.path}: batch is {batch} in its sidecar, but its graph takes {network.batch} in a run"
        )


def _class_names(network: Network) -> dict[int, str]:
    """The names of the classes by number, as Ultralytics writes them; empty if the metadata do not tell."""
    names = _literal(network.metadata.get("names", ""))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        return {}
    return {int(number): str(name) for number, name in names.items() if str(number).isdigit()}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
