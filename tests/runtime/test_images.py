"""Decoding and resizing: golden pixels, formats, and everything that may be wrong with a file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import BundleError, InputError
from sal_runtime.image_header import read_header
from sal_runtime.images import ImageSpec, decode_image, load_image, resize_image

FORMATS = (".jpg", ".png", ".webp", ".bmp")


def picture(height: int = 40, width: int = 24) -> np.ndarray:
    """A smooth RGB gradient, so that JPEG and WebP change it little."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = (rows * 255 // height, columns * 255 // width, (rows + columns) * 255 // (height + width))
    return np.stack(channels, axis=2).astype(np.uint8)


def encoded(suffix: str, image: np.ndarray | None = None) -> bytes:
    rgb = picture() if image is None else image
    return bytes(cv2.imencode(suffix, rgb[:, :, ::-1] if rgb.ndim == 3 else rgb)[1])


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_decode_to_rgb(suffix: str) -> None:
    decoded = decode_image(encoded(suffix))
    assert decoded.dtype == np.uint8
    tolerance = 0 if suffix in (".png", ".bmp") else 24
    assert np.abs(decoded.astype(int) - picture()).max() <= tolerance
    assert read_header(encoded(suffix)) == (24, 40, True)


def test_lossless_webp_and_greyscale_and_alpha_and_16_bit() -> None:
    lossless = bytes(cv2.imencode(".webp", picture()[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1])
    assert (decode_image(lossless) == picture()).all()
    assert read_header(lossless) == (24, 40, True)
    grey = decode_image(encoded(".png", picture()[:, :, 0]))
    assert (grey == picture()[:, :, :1]).all()
    with_alpha = np.dstack([picture()[:, :, ::-1], np.full((40, 24), 7, np.uint8)])
    assert (decode_image(bytes(cv2.imencode(".png", with_alpha)[1])) == picture()).all()
    deep = decode_image(bytes(cv2.imencode(".png", picture()[:, :, ::-1].astype(np.uint16) * 257)[1]))
    assert (deep == picture()).all()


def test_exif_orientation_is_applied() -> None:
    plain = encoded(".jpg")
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b"Exif\x00\x00" + tiff
    rotated = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    assert decode_image(rotated).shape == (24, 40, 3)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.98])
def test_truncated_files_are_refused(suffix: str, keep: float) -> None:
    data = encoded(suffix)
    with pytest.raises(InputError):
        decode_image(data[: int(keep * len(data))])


def test_a_truncated_jpeg_with_a_preview_inside_is_refused() -> None:
    """The end marker of the embedded preview must not pass for that of the image."""
    data, preview = encoded(".jpg"), encoded(".jpg", picture(16, 16))
    segment = struct.pack(">H", len(preview) + 2) + preview
    with_preview = data[:2] + b"\xff\xe1" + segment + data[2:]
    assert decode_image(with_preview).shape == (40, 24, 3)
    with pytest.raises(InputError, match="truncated"):
        decode_image(with_preview[: len(with_preview) - len(data) // 2])


def test_bytes_after_the_end_do_not_matter() -> None:
    assert decode_image(encoded(".jpg") + b"\x00" * 100).shape == (40, 24, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"hello, I am a text file", "not a JPEG, PNG, WebP or BMP"),
        (b"GIF89a" + bytes(20), "not a JPEG"),
        (b"\xff\xd8\xff\xe0", "truncated|frame header"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"RIFF\x10\x00\x00\x00WEBPXXXX" + bytes(30), "unknown first chunk"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_image(data)


def huge_png(width: int, height: int) -> bytes:
    """A valid PNG header of any size in a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    end = b"\x00\x00\x00\x00IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


def test_a_huge_image_is_refused_from_its_header() -> None:
    with pytest.raises(InputError, match="20000 x 20000 pixels"):
        decode_image(huge_png(20_000, 20_000))


def test_the_limit_is_in_pixels() -> None:
    with pytest.raises(InputError, match="at most 959"):
        decode_image(encoded(".png"), max_pixels=959)
    assert decode_image(encoded(".png"), max_pixels=960).shape == (40, 24, 3)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMATS), st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
def test_damaged_bytes_never_raise_anything_else(suffix: str, at: int, value: int, cut: int) -> None:
    data = bytearray(encoded(suffix))
    data[at % len(data)] = value
    try:
        image = decode_image(bytes(data[: len(data) - cut % 5]), max_pixels=4_000_000)
    except InputError:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3


def test_golden_pixels_of_the_resize() -> None:
    """Down by area, then up by interpolation; these numbers pin the project's one resize."""
    image = np.zeros((4, 2, 3), dtype=np.uint8)
    image[:, :, 0] = [[0, 10], [20, 30], [40, 50], [60, 70]]
    down = resize_image(image, ImageSpec(2, 1))
    assert down[:, :, 0].tolist() == [[15], [55]]  # means of 2x2 blocks
    mixed = resize_image(image, ImageSpec(2, 4))  # rows averaged down, columns interpolated up
    assert mixed[:, :, 0].tolist() == [[10, 13, 18, 20], [50, 53, 58, 60]]
    assert (resize_image(image, ImageSpec(4, 2)) == image).all()


def test_resize_takes_any_memory_layout() -> None:
    image = picture()
    flipped = image[:, ::-1]
    spec = ImageSpec(16, 8)
    assert (resize_image(flipped, spec) == resize_image(np.ascontiguousarray(flipped), spec)).all()
    assert resize_image(flipped, ImageSpec(40, 24)).flags.c_contiguous


def test_load_names_the_file(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.png", tmp_path / "b.jpg"
    good.write_bytes(encoded(".png"))
    bad.write_bytes(b"")
    assert load_image(good, ImageSpec(16, 8)).shape == (16, 8, 3)
    with pytest.raises(InputError, match=r"b\.jpg: the file is empty"):
        load_image(bad, ImageSpec(16, 8))
    with pytest.raises(InputError, match=r"c\.jpg: No such file"):
        load_image(tmp_path / "c.jpg", ImageSpec(16, 8))


def test_a_spec_of_other_preprocessing_is_refused() -> None:
    data = ImageSpec(16, 8).to_json()
    assert ImageSpec.from_json(data) == ImageSpec(16, 8)
    with pytest.raises(BundleError, match="BGR"):
        ImageSpec.from_json({**data, "colour": "BGR"})
