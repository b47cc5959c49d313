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
from sal_runtime.images.header import read_header
from sal_runtime.images.pixels import decode_image, load_image, resize_image
from sal_runtime.images.spec import ImageSpec

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
    assert read_header(encoded(suffix))[:3] == (24, 40, True)


def test_lossless_webp_and_greyscale_and_alpha_and_16_bit() -> None:
    lossless = bytes(cv2.imencode(".webp", picture()[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1])
    assert (decode_image(lossless) == picture()).all()
    assert read_header(lossless)[:3] == (24, 40, True)
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
    """These numbers pin the project's one resize."""
    image = np.zeros((4, 2, 3), dtype=np.uint8)
    image[:, :, 0] = [[0, 10], [20, 30], [40, 50], [60, 70]]
    down = resize_image(image, ImageSpec(2, 1))
    assert down[:, :, 0].tolist() == [[15], [55]]  # twice the target is the size it has: means of 2x2 blocks
    mixed = resize_image(image, ImageSpec(2, 4))  # rows averaged down, columns interpolated up
    assert mixed[:, :, 0].tolist() == [[10, 13, 18, 20], [50, 53, 58, 60]]
    column = np.repeat(np.array([0, 60, 120, 180, 240, 100], np.uint8)[:, None, None], 3, axis=2)
    # at rows 0.25, 1.75, 3.25, 4.75 of the six: 15, 105, 195, 135
    assert resize_image(column, ImageSpec(2, 1))[:, 0, 0].tolist() == [60, 165]
    assert resize_image(column, ImageSpec(1, 1))[:, 0, 0].tolist() == [117]  # more than four times: 700 / 6
    assert (resize_image(image, ImageSpec(4, 2)) == image).all()


def area_matrix(length: int, target: int) -> np.ndarray:
    """What of each pixel lies in each of `target` equal stretches, as shares of the stretch, `[target, length]`."""
    edges = np.arange(target + 1) * length / target
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(overlap, 0) * target / length


def linear_matrix(length: int, target: int) -> np.ndarray:
    """Hat functions around the centres of `target` equal stretches, `[target, length]`."""
    centres = np.clip((np.arange(target) + 0.5) * length / target - 0.5, 0, length - 1)
    return np.maximum(1 - np.abs(centres[:, None] - np.arange(length)), 0)


def resize_matrix(length: int, target: int) -> np.ndarray:
    """The rule, of one dimension."""
    if length > 4 * target:
        return area_matrix(length, target)
    if length > target:
        return linear_matrix(length, 2 * target).reshape(target, 2, length).mean(axis=1)
    return linear_matrix(length, target)


def transformed(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.einsum("ih,hwc,jw->ijc", rows, image.astype(np.float64), columns, optimize=True)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_resize_is_the_stated_rule(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = transformed(image, resize_matrix(height, rows), resize_matrix(width, columns))
    found = resize_image(image, ImageSpec(rows, columns))
    # half a level for each of three roundings at most, and the kernels count in 2048ths
    assert np.abs(found - expected).max() <= 2


@pytest.mark.parametrize("scale", [1.25, 1.64, 2.1, 3.0, 3.7, 6.3])
def test_the_resize_aliases_far_less_than_linear_interpolation(scale: float) -> None:
    """Of patterns too fine for the target nothing should be left; the mean over areas leaves some, too."""
    target = 64
    length = round(scale * target)

    def left(matrix: np.ndarray) -> float:
        frequencies = np.linspace(0.5 * target / length, 0.5, 50)[1:]
        waves = np.exp(2j * np.pi * frequencies * np.arange(length)[:, None])
        return float(np.sqrt(np.mean(np.abs(matrix @ waves) ** 2)))

    def responses(image: np.ndarray) -> np.ndarray:
        return resize_image(image, ImageSpec(1, target))[0, :, 0].astype(float)

    impulses = np.eye(length, dtype=np.uint8)[:, None, :, None] * np.full(3, 255, np.uint8)
    measured = np.stack([responses(impulse) for impulse in impulses], axis=1) / 255
    assert left(measured) < 1.8 * left(area_matrix(length, target))
    assert left(measured) < 0.7 * left(linear_matrix(length, target))


def test_an_image_of_any_shape_is_resized_in_little_memory() -> None:
    for shape in ((1, 4_000_000, 3), (4_000_000, 1, 3), (2, 300_000, 3)):
        assert (resize_image(np.full(shape, 7, np.uint8), ImageSpec(128, 64)) == 7).all()


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
    for key, other in (("colour", "BGR"), ("resize", "area-then-linear")):
        with pytest.raises(BundleError, match=f"{other}.*export its run again"):
            ImageSpec.from_json({**data, key: other})
