"""`sal ingest`: what a person types, sees, and finds afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.file import crops_folder
from tests.command_line import check_one_error, run_sal
from tests.research_weights import find_weights
from tests.service.video.recorded import write_clip

REPOSITORY = Path(__file__).parents[3]
FRAMES = 80
"""Frames of vtest.avi that most of these tests look at: eight seconds."""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short recording and a detector."""
    folder = tmp_path_factory.mktemp("yard")
    shutil.copy(find_weights("yolox_nano.onnx"), folder / "yolox.onnx")
    write_clip(folder / "yard.avi", FRAMES)
    capture = cv2.VideoCapture(str(folder / "yard.avi"))
    for _ in range(60):
        image = capture.read()[1]
    cv2.imwrite(str(folder / "frame.jpg"), image)
    os.utime(folder / "yard.avi", (1_764_331_208, 1_764_331_208))
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    if "yard" in request.fixturenames:
        for file in request.getfixturevalue("yard").iterdir():
            (tmp_path / file.name).symlink_to(file)


RECORDING = ("ingest", "yard.avi", "--gallery", "yard.sal", "--detector", "yolox.onnx")


@pytest.mark.usefixtures("yard")
def test_a_recording_becomes_people_that_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_sal(capsys, *RECORDING, "--zone", "north", "--report", "report.json")
    assert code == 0
    report = json.loads(Path("report.json").read_text())
    (camera,) = report["cameras"]
    assert camera["camera"] == "yard"  # after the file
    assert camera["received"] == camera["detected"] == FRAMES
    assert camera["captured"] == [pytest.approx(1_764_331_200), pytest.approx(1_764_331_207.9)]
    assert re.search(rf"^yard +7\.9 +{FRAMES} +0 +0 ", out, re.MULTILINE)
    assert "people who are not tall enough" in out
    assert "yolox_nano" not in out
    assert "detector yolox.onnx: yolox-raw" in out
    with Gallery.open("yard.sal") as gallery:
        items = gallery.all_items()
        assert len(items) == camera["kept"] > 4
        assert all(gallery.image_path(item).is_file() for item in items)
    assert {item.metadata["zone"] for item in items} == {"north"}
    code, out, _ = run_sal(capsys, "search", "person in a blue top", "yard.sal", "--by-track", "--json")
    assert code == 0
    assert len(json.loads(out)["hits"]) == len({item.track for item in items}) == camera["tracks"]
    code, out, _ = run_sal(capsys, "gallery", "purge", "yard.sal", "--older-than", "1h")
    assert code == 0
    assert not crops_folder(Path("yard.sal")).exists()


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize("option", ["--no-crops", "--thumbnails"])
def test_pictures_are_kept_small_or_not_at_all(capsys: pytest.CaptureFixture[str], option: str) -> None:
    code, out, err = run_sal(capsys, *RECORDING, option, "--json", "--rate", "5")
    assert (code, err) == (0, "")
    kept = json.loads(out)["cameras"][0]["kept"]
    pictures = list(crops_folder(Path("yard.sal")).rglob("*.jpg"))
    assert len(pictures) == (0 if option == "--no-crops" else kept)
    assert all(cv2.imread(str(picture)).shape[0] <= 96 for picture in pictures)


@pytest.mark.usefixtures("yard")
def test_cameras_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cameras.toml").write_text(
        '[defaults]\ndetector = "yolox.onnx"\nrate = 5\n'
        '[[cameras]]\nname = "one"\nsource = "yard.avi"\n'
        '[[cameras]]\nname = "two"\nsource = "yard.avi"\nmin_height = 120\n'
        'lines = [{ name = "path", start = [0.0, 0.5], stop = [1.0, 0.5] }]\n'
    )
    code, out, _ = run_sal(capsys, "ingest", "--cameras", "cameras.toml", "--gallery", "yard.sal", "--json")
    assert code == 0
    one, two = json.loads(out)["cameras"]
    assert (one["camera"], two["camera"]) == ("one", "two")
    assert one["detected"] == two["detected"] == FRAMES // 2
    assert one["tracks"] > two["tracks"]


@pytest.mark.usefixtures("yard")
def test_a_look_through_the_detector(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_sal(capsys, "ingest", "--check", "frame.jpg", "--detector", "yolox.onnx")
    assert code == 0
    assert "are tall and sure enough to count" in out
    assert "frame.seen.png" in err
    drawn = cv2.imread("frame.seen.png")
    assert drawn.shape == (576, 768, 3)
    assert (drawn == (0, 200, 0)).all(axis=2).any()
    code, out, _ = run_sal(capsys, "ingest", "--check", "frame.jpg", "--detector", "yolox.onnx", "--json")
    assert len(json.loads(out)["people"]) >= json.loads(out)["counted"] > 2


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_in_order(number: signal.Signals, code: int) -> None:
    """What the report says is kept is in the gallery, and nothing else is beside it."""
    command = [sys.executable, "-m", "sal_cli", *RECORDING, "--report", "report.json"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL)
    while not list(Path("yard.sal.crops").rglob("*.jpg")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == code
    (camera,) = json.loads(Path("report.json").read_text())["cameras"]
    assert camera["condition"] == "stopped"
    with Gallery.open("yard.sal") as gallery:
        assert len(gallery) == camera["kept"] > 0
        assert len(list(Path("yard.sal.crops").rglob("*"))) == len(gallery) + 2  # folders of camera and day


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("nothing to look at",)),
        (("yard.avi",), ("no gallery", "--gallery")),
        (("yard.avi", "--gallery", "yard.sal"), ("no detector", "--detector", "docs/detectors.md")),
        (("rtsp://h/s", "--gallery", "yard.sal", "--detector", "d.onnx"), ("needs a name", "--camera")),
        (("rtsp://h/s", "rtsp://h/t", "-g", "yard.sal", "--camera", "a"), ("several live cameras", "--cameras")),
        (("yard.avi", "--cameras", "c.toml", "-g", "yard.sal"), ("SOURCE cannot take effect", "c.toml")),
        (("--cameras", "c.toml", "-g", "yard.sal", "--rate", "5"), ("--rate cannot take effect", "c.toml")),
        (("--cameras", "c.toml", "-g", "yard.sal"), ("c.toml", "No such file")),
        (("--check", "f.jpg", "-g", "yard.sal"), ("--gallery cannot take effect",)),
        (("a.avi", "-g", "y.sal", "--detector", "d.onnx", "--no-crops", "--thumbnails"), ("exclude each other",)),
        (("a.avi", "-g", "y.sal", "--detector", "d.onnx", "--camera", "a/b"), ("camera name 'a/b'",)),
        (("a.avi", "-g", "y.sal", "--detector", "d.onnx", "--rate", "0"), ("rate 0",)),
        (("a.avi", "-g", "y.sal", "--detector", "d.onnx"), ("d.onnx",)),
        (("a.avi", "-g", ".", "--detector", "d.onnx"), ("expected a gallery file",)),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    check_one_error(run_sal(capsys, "ingest", *arguments), 2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("yard")
def test_a_source_that_is_no_video_leaves_no_gallery(capsys: pytest.CaptureFixture[str]) -> None:
    for source in ("gone.avi", "yolox.onnx", "frame.jpg"):
        outcome = run_sal(capsys, "ingest", source, "--gallery", "new.sal", "--detector", "yolox.onnx")
        check_one_error(outcome, 2, source)
        assert not Path("new.sal").exists()
