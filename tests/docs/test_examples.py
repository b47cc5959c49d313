"""The programs in docs/examples run as printed, and a strict type checker accepts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sal_runtime.gallery.gallery import Gallery
from tests.research_weights import find_weights
from tests.service.video.recorded import write_clip

REPOSITORY = Path(__file__).parents[2]
EMBED = REPOSITORY / "docs" / "examples" / "embed.py"
CAMERAS = REPOSITORY / "docs" / "examples" / "cameras.py"
PROGRAMS = sorted((REPOSITORY / "docs" / "examples").rglob("*.py"))


def run_embed(gallery: Path) -> list[str]:
    return run(EMBED, REPOSITORY / "demo" / "gallery", gallery)


def run(*command: str | Path) -> list[str]:
    """The lines that a program prints."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("SAL_BUNDLE", None)
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_service_adds_crops_while_another_thread_searches(tmp_path: Path) -> None:
    pictures = len(list((REPOSITORY / "demo" / "gallery").glob("*.jpg")))
    last = run_embed(tmp_path / "yard.sal")[-1]
    assert last.startswith(f"{pictures} crops; best: person")
    assert ", north entrance, track " in last
    again = run_embed(tmp_path / "yard.sal")[-1]  # the gallery is opened, and holds each crop once
    assert again.startswith(f"{pictures} crops; best: ")
    with Gallery.open(tmp_path / "yard.sal") as gallery:
        items = gallery.all_items()
    assert len(items) == pictures
    assert all(item.camera and item.track and item.captured_at and item.box and item.metadata for item in items)


def test_a_program_looks_at_cameras_and_asks_meanwhile(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_clip(tmp_path / f"{name}.avi", 60)
    cameras = tmp_path / "cameras.toml"
    cameras.write_text("".join(f'[[cameras]]\nname = "{name}"\nsource = "{name}.avi"\n' for name in ("one", "two")))
    gallery = tmp_path / "yard.sal"
    lines = run(CAMERAS, cameras, find_weights("yolox_nano.onnx"), gallery, "man in a black jacket")
    assert [line.split(":")[0] for line in lines[-2:]] == ["one", "two"]
    assert all(", 0 frames dropped" in line for line in lines[-2:])
    with Gallery.open(gallery) as opened:
        assert {item.camera for item in opened.all_items()} == {"one", "two"}


def test_a_strict_type_checker_accepts_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", *PROGRAMS]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"Success: no issues found in {len(PROGRAMS)} source files"), done.stdout
