"""Options that several commands share, and options that cannot take effect: an error before any work."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from sal_cli.options import DeviceOption, PrecisionChoice, cache_or_default, print_choice
from sal_export.package import artefacts_for
from sal_runtime.arrays import Precision
from sal_runtime.engines.devices import DEVICES, DeviceChoice
from tests.command_line import check_one_error, run_sal
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import make_tiny_bundle

Capsys = pytest.CaptureFixture[str]


def test_the_choices_are_those_of_the_library() -> None:
    assert get_args(get_args(get_args(DeviceOption)[0])[0]) == DEVICES == ("cpu", "cuda", "trt", "auto")
    assert get_args(PrecisionChoice) == get_args(Precision)


def test_export_also_takes_int8_for_tensorrt_and_says_what_it_takes(tmp_path: Path, capsys: Capsys) -> None:
    export = ("export", "--run", tmp_path / "no-run", "--out", tmp_path / "bundle")
    check_one_error(run_sal(capsys, *export, "--precision", "int9"), 2, "expected one of fp32, fp16, int8, int8-trt")
    check_one_error(run_sal(capsys, *export, "--precision", "int8-trt"), 2, "no-run: no config.toml here")
    assert artefacts_for(["fp16", "int8-trt"], ["int8"]) == ["fp32", "fp16", "int8-trt"]


def test_the_device_that_auto_took_is_one_line_on_stderr(capsys: Capsys) -> None:
    print_choice("auto", DeviceChoice("cuda", "trt is broken"))
    assert capsys.readouterr() == ("", "sal: --device auto took cuda: trt is broken\n")
    print_choice("cuda", DeviceChoice("cuda", "asked for"))
    print_choice(None, DeviceChoice("cpu", "asked for"))
    print_choice("auto", None)
    assert capsys.readouterr() == ("", "")


def test_decoded_images_are_kept_in_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_or_default(None) == tmp_path / "xdg" / "sal"
    assert cache_or_default(Path("~/mine")) == tmp_path / "mine"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_or_default(None) == tmp_path / ".cache" / "sal"


@pytest.mark.parametrize(
    ("command", "useless"),
    [
        ("eval --dataset d --run r --precision int8", "--precision"),
        ("export --run r --out o --publish-passed", "--publish-passed"),
        ("eval --dataset d --run r --attach", "--attach"),
        ("export --run r --out o --data d", "--data"),
        ("export --run r --out o --cache c", "--cache"),
        ("export --run r --out o --data d --cache c", "--data, --cache"),
        ("export --run r --out o --compute-capability 8.9", "--compute-capability"),
        ("bench engine --device trt --threads 2", "--threads"),
        ("bench engine --device trt --run r", "--run"),
        ("data check --dataset own --data elsewhere", "--data"),
        ("data stats --dataset own --data elsewhere", "--data"),
        ("train --dataset own --out o --data elsewhere", "--data"),
        ("eval --dataset own --run r --data elsewhere", "--data"),
        ("gallery add own --camera c", "--camera"),
        ("gallery add own --captured-at mtime", "--captured-at"),
        ("gallery add own --meta a=b", "--meta"),
    ],
)
def test_options_that_cannot_take_effect_are_refused(
    command: str, useless: str, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    check_one_error(run_sal(capsys, *command.split()), 2, f"{useless} cannot take effect: ")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize(
    ("more", "option"), [(("--device", "cpu"), "--device"), (("--precision", "fp32"), "--precision")]
)
def test_only_folders_are_encoded_for_a_search(
    more: tuple[str, ...], option: str, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAL_BUNDLE", str(make_tiny_bundle(tmp_path / "tiny")))
    folder = make_folder(tmp_path / "crops")
    assert run_sal(capsys, "search", "-a", "male", "-g", folder, *more)[0] == 0
    for place in (tmp_path / "crops.sal", "http://localhost:1/yard"):
        check_one_error(run_sal(capsys, "search", "-a", "male", "-g", place, *more), 2, "folder", f"({option})")


@pytest.mark.parametrize(
    "command",
    ["export --run r --out o --precision fp64", "export --run r --out o --trt fp64", "bundle engine --precision fp64"],
)
def test_a_precision_that_there_is_not(command: str, capsys: Capsys) -> None:
    check_one_error(run_sal(capsys, *command.split()), 2, "fp64: expected one of fp32, fp16, int8")


@pytest.mark.parametrize(
    "command",
    ["gallery add y.sal crops --camera", "search -a male -g y.sal --camera", "search -a male -g y.sal --track"],
)
def test_texts_are_utf_8(command: str, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "crops")
    monkeypatch.chdir(tmp_path)
    bad = b"k\xe9".decode("utf-8", "surrogateescape")
    check_one_error(run_sal(capsys, *command.split(), bad), 2, r"k\udce9", "is not UTF-8")
    check_one_error(run_sal(capsys, "gallery", "add", "y.sal", "crops", "--meta", f"a={bad}"), 2, "is not UTF-8")
    assert not Path("y.sal").exists()
