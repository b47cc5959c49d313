"""Which files of a folder are images, which are reported, and which are counted."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sal_runtime.images.folder import list_images
from sal_runtime.images.pixels import decode_image

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 12, 3), dtype=np.uint8)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, PICTURE)[1].tobytes()


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "a.JPEG", "b.jfif", "c.jpe", "d.jfi", "e.jif", "f.jpg ", "g.JPG\t", "no_suffix", "two.dots.jpg"],
)
def test_every_name_of_a_jpeg_is_an_image(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(encoded(".jpg"))
    listing = list_images(tmp_path)
    assert list(listing.files) == [name]
    assert (listing.failed, sum(listing.passed_over.values())) == ([], 0)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_images_without_a_suffix_are_known_by_their_first_bytes(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "crop").write_bytes(encoded(suffix))
    assert decode_image((tmp_path / "crop").read_bytes()).shape == PICTURE.shape
    (tmp_path / "picture.dib").write_bytes(encoded(".bmp"))
    assert list(list_images(tmp_path).files) == ["crop", "picture.dib"]


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".heic", ".avif", ".gif", ".ppm"])
def test_images_of_other_formats_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"II*\0")
    listing = list_images(tmp_path)
    assert not listing.files
    assert listing.failed == [(str(path), f"{suffix.lower()} is not read; convert it to JPEG, PNG, WebP or BMP")]


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path: Path) -> None:
    for name in ("a.txt", "b.TXT", "crops.csv", "README", "empty", ".hidden.jpg", "._a.jpg"):
        (tmp_path / name).write_text("" if name == "empty" else "BMW\0" if name == "._a.jpg" else "some text")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    listing = list_images(tmp_path)
    assert not listing.files
    assert not listing.failed
    assert listing.passed_over == {".txt": 2, ".csv": 1, "": 3}
    assert listing.nothing() == ("no image (JPEG, PNG, WebP or BMP); passed over: 3 without a suffix, 2 .txt, 1 .csv")
