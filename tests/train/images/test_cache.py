"""The cache of decoded images: decoded once, never stale, never half written."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_runtime.images.pixels import load_image
from sal_runtime.images.spec import ImageSpec
from sal_train.images import cache as image_cache
from sal_train.images.cache import load_images

SPEC = ImageSpec(16, 8)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    written = [folder / f"{number}.png" for number in range(5)]
    for path in written:
        cv2.imwrite(str(path), rng.integers(0, 256, (20, 12, 3), dtype=np.uint8))
    return written


def test_images_are_what_the_runtime_sees_and_are_decoded_once(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = load_images(paths, SPEC, tmp_path / "cache")
    np.testing.assert_array_equal(images, [load_image(path, SPEC) for path in paths])

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(image_cache, "load_image", refuse)
    again = load_images(paths, SPEC, tmp_path / "cache")
    np.testing.assert_array_equal(images, again)
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


def test_a_changed_file_or_size_or_order_makes_a_new_array(paths: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_images(paths, SPEC, cache)
    replaced = np.zeros((20, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(paths[2]), replaced)
    assert load_images(paths, SPEC, cache)[2].max() == 0
    os.utime(paths[2], ns=(1, 1))
    load_images(paths, SPEC, cache)
    load_images(paths, ImageSpec(8, 8), cache)
    load_images(paths[::-1], SPEC, cache)
    assert len(list(cache.iterdir())) == 5


def test_unreadable_images_are_named_and_leave_nothing_behind(paths: list[Path], tmp_path: Path) -> None:
    paths[1].write_bytes(b"no image")
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    with pytest.raises(InputError, match=r"2 of 5 images cannot be read: .*1\.png.*3\.png"):
        load_images(paths, SPEC, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    paths[1].unlink()
    with pytest.raises(InputError, match=r"1\.png.*sal data check"):
        load_images(paths, SPEC, tmp_path / "cache")
