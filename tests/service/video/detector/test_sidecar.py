"""The file beside a detector."""

from __future__ import annotations

from pathlib import Path

import pytest

from sal_runtime.errors import InputError
from sal_service.video.detector.description import FAMILIES
from sal_service.video.detector.sidecar import find_sidecar, read_sidecar, template


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("famly = 'yolox'", "famly: unknown key (did you mean family?); known keys: family, person_class, "),
        ("family = 'yolo8'", "family: got 'yolo8', expected one of yolox, "),
        ("family = 'yolo8'", "(did you mean yolov8?)"),
        ("family = 8", "family: got 8, expected one of "),
        ("person_class = 'person'", "person_class: got 'person', expected a whole number"),
        ("person_class = true", "person_class: got True, expected a whole number"),
        ("person_class = -1", "person_class: got -1, expected a number from 0"),
        ("width = 640.5", "width: got 640.5, expected a whole number"),
        ("width = 0", "width: got 0, expected a number of pixels"),
        ("colour = 'grb'", "colour: got 'grb', expected one of rgb, bgr (did you mean rgb?)"),
        ("divide_by = 0", "divide_by: got 0.0, expected above 0"),
        ("divide_by = nan", "divide_by: got nan, expected above 0"),
        ("mean = [1, 2]", "mean: got [1, 2], expected a list of 3 numbers"),
        ("mean = ['a', 0, 0]", "mean: got 'a', expected a number"),
        ("std = [1, 1, 0]", "std: got [1.0, 1.0, 0.0], expected above 0"),
        ("padding = 300", "padding: got 300, expected 0 to 255"),
        ("overlap = 1.5", "overlap: got 1.5, expected above 0, at most 1"),
        ("columns = 'left'", "columns: got 'left', expected a list"),
        ("columns = ['lefd']", "columns: got 'lefd', expected one of image, left"),
        ("outputs = [1]", "outputs: got 1, expected a text"),
        ("[detector]\nfamily = 'yolox'", "detector: unknown key"),
        ("family = yolox", "not valid TOML"),
    ],
)
def test_mistakes_are_named_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_sidecar(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value).partition("not valid TOML")[0]


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("divide_by = 255\nmean = [0, 0.5, 1]")
    settings = read_sidecar(tmp_path / "mine.toml")
    assert settings == {"divide_by": 255.0, "mean": (0.0, 0.5, 1.0)}
    assert isinstance(settings["divide_by"], float)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not valid TOML"):
        read_sidecar(tmp_path / "mine.toml")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_template_can_be_read(family: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(template(tmp_path / "mine.onnx", {"family": family, "width": 416, "license": 'a "b"'}))
    settings = read_sidecar(path)
    assert settings["family"] == family
    assert settings["width"] == 416
    assert settings["license"] == 'a "b"'
    assert {key: settings[key] for key in FAMILIES[family].conventions} == FAMILIES[family].conventions


def test_the_template_states_nothing_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(template(tmp_path / "mine.onnx", {"width": 416}))
    assert read_sidecar(path) == {"width": 416}
    stated = [line for line in path.read_text().splitlines()[1:] if not line.startswith("#   ")]
    path.write_text("\n".join(line.removeprefix("# ") for line in stated if "families:" not in line))
    assert {"family", "person_class", "width", "height", "colour", "fit"} <= read_sidecar(path).keys()
    assert max(map(len, stated)) <= 80


def test_the_own_sidecar_wins(tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.touch()
    assert find_sidecar(model) is None
    (tmp_path / "detector.toml").touch()
    assert find_sidecar(model) == tmp_path / "detector.toml"
    (tmp_path / "mine.toml").touch()
    assert find_sidecar(model) == tmp_path / "mine.toml"


def test_a_shared_sidecar_beside_several_detectors_is_refused(tmp_path: Path) -> None:
    for name in ("mine.onnx", "other.onnx", "detector.toml", "other.toml"):
        (tmp_path / name).touch()
    assert find_sidecar(tmp_path / "other.onnx") == tmp_path / "other.toml"
    with pytest.raises(InputError, match=r"is beside mine\.onnx and other\.onnx, .*; rename it to mine\.toml"):
        find_sidecar(tmp_path / "mine.onnx")
