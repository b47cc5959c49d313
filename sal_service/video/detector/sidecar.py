"""The TOML file beside a detector that says how it wants its pictures and what its outputs mean."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sal_runtime.errors import InputError
from sal_service.video.detector.description import FAMILIES, Description

SHARED_NAME = "detector.toml"
KEYS = tuple(field.name for field in dataclasses.fields(Description))
HINTS = get_type_hints(Description)
TINY, LARGE = 1e-9, 1e9
RANGES = (
    (("person_class", "batch"), 0, LARGE, "a number from 0"),
    (("width", "height"), 1, LARGE, "a number of pixels"),
    (("divide_by", "std"), TINY, LARGE, "above 0"),
    (("mean",), -LARGE, LARGE, "numbers"),
    (("padding",), 0, 255, "0 to 255"),
    (("overlap",), TINY, 1, "above 0, at most 1"),
)
"""Keys, their least and largest value, and how an error calls the range."""


def find_sidecar(model: Path) -> Path | None:
    """The sidecar of a detector: `NAME.toml` beside `NAME.onnx`, else `detector.toml` in its folder, else None.

    Raises:
        InputError: there is a `detector.toml`, but it may belong to another detector of the folder.
    """
    own = model.with_suffix(".toml")
    if own.is_file():
        return own
    shared = model.with_name(SHARED_NAME)
    if not shared.is_file():
        return None
    others = sorted(path.name for path in model.parent.glob("*.onnx") if path.name != model.name)
    if others:
        raise InputError(
            f"{shared}: is beside {model.name} and {', '.join(others)}, and does not say which it describes; rename it "
            f"to {own.name}, or to the name of the detector that it describes"
        )
    return shared


def read_sidecar(path: Path) -> dict[str, Any]:
    """The settings of a sidecar: fields of `Description`, with their types; any of them may be missing.

    Raises:
        InputError: it is not TOML, or has an unknown key or a value of the wrong type.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise InputError(f"{path}: not valid TOML: {error}") from error
    for key in tree:
        if key not in KEYS:
            raise InputError(f"{path}: {key}: unknown key{_near(key, KEYS)}; known keys: {', '.join(KEYS)}")
    settings = {key: _converted(HINTS[key], value, f"{path}: {key}") for key, value in tree.items()}
    _check_ranges(settings, path)
    return settings


def template(model: Path, settings: Mapping[str, Any]) -> str:
    """A sidecar to fill in: what is known, and as comments what nobody but its author knows."""
    family = settings.get("family")
    conventions = FAMILIES[family or "yolov8"].conventions
    known = {**(conventions if family else {}), **settings}
    examples = {"family": "yolov8", "person_class": 0, "width": 640, "height": 640, **conventions}
    remarks = {
        "person_class": "which class is a person, from 0",
        "colour": "or bgr",
        "divide_by": "1.0 if the network wants pixels 0..255",
        "fit": "or top-left, stretch",
        "overlap": "1.0 if the graph leaves out doubles itself",
    }
    lines = [f"# {model.with_suffix('.toml').name}", *_comment(f"families: {', '.join(FAMILIES)}")]
    for key in (key for key in KEYS if key in known or key in examples):
        line = f"{key} = {_toml(known.get(key, examples.get(key)))}"
        remark = f"  # {remarks[key]}" if key in remarks else ""
        lines.append(f"{'' if key in known else '# '}{line}{remark}")
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return wrap(text, 79, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)


def _converted(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            near = _near(value, arguments) if isinstance(value, str) else ""
            raise InputError(f"{where}: got {value!r}, expected one of {', '.join(arguments)}{near}")
        return value
    if origin is tuple:
        length = 0 if arguments[-1] is Ellipsis else len(arguments)
        if not isinstance(value, list) or (length and len(value) != length):
            raise InputError(f"{where}: got {value!r}, expected a list{f' of {length} numbers' if length else ''}")
        return tuple(_converted(arguments[0], entry, where) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or isinstance(value, bool):
        expected = {int: "a whole number", float: "a number", str: "a text"}[hint]
        raise InputError(f"{where}: got {value!r}, expected {expected}")
    return value


def _check_ranges(settings: Mapping[str, Any], path: Path) -> None:
    for keys, least, most, expected in RANGES:
        for key in set(keys) & settings.keys():
            values = settings[key] if isinstance(settings[key], tuple) else (settings[key],)
            if not all(least <= value <= most for value in values):
                raise InputError(f"{path}: {key}: got {_toml(settings[key])}, expected {expected}")


def _near(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word, known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return repr(value)
