"""A disk that is full for a while: pictures wait, and are in the gallery when there is room again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.file import crops_folder
from sal_service.video import intake as module
from sal_service.video.intake import Intake
from tests.runtime.tiny_bundle import make_tiny_bundle

NOON = 1_764_331_200.0
LONG = 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs a file system of 3 MB, and this user may not mount one")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_waited_for(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    bundle = open_bundle(make_tiny_bundle(tmp_path / "tiny.bundle"))
    noise = np.random.default_rng(0).integers(0, 256, (200, 80, 3), np.uint8)  # about 20 kB as JPEG
    with Gallery.create(small_disk / "yard.sal", bundle) as gallery, Intake(gallery, ImageEncoder(bundle)) as intake:
        ballast = small_disk / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _free(small_disk) - 200_000)
        answers = [intake.submit(noise, camera="door", captured_at=NOON + number) for number in range(40)]
        while intake.counts.retried < 100:
            time.sleep(0.01)
        assert intake.counts.kept < 40
        assert gallery.verify() == []
        ballast.unlink()
        wait(answers, LONG)
        assert all(answer.exception() is None for answer in answers)
        assert "No space left" in intake.counts.last_problem or "full" in intake.counts.last_problem
        assert (len(gallery), intake.counts.kept, intake.counts.given_up) == (40, 40, 0)
        assert len(list(crops_folder(gallery.path).rglob("*.jpg"))) == 40
        assert gallery.verify() == []


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_bsize
