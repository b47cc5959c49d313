"""No file crashes, hangs or blows up: each is decoded within the limit, or refused in one line, safe to print."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import InputError
from sal_runtime.images.header import MAX_CHUNKS, MAX_SCANS, read_header
from sal_runtime.images.pixels import MAX_PIXELS, decode_image, resize_image
from sal_runtime.images.spec import ImageSpec
from tests.runtime import drawn_files as files
from tests.runtime.confined import check_confined
from tests.runtime.hostile_images import hostile_file

NUM_FILES = 10_000
LONGEST_MESSAGE = 300
MEGABYTES = 1200
"""What a case may take: 64 megapixels in RGB are 192 MB, and decoders keep several copies of some formats."""
SPEC = ImageSpec(32, 16)
SIDE = 8000
"""Of the largest square within the limit."""


def decoded_or_none(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """The image, or None where the file is refused properly."""
    try:
        image = decode_image(data, max_pixels)
    except InputError as error:
        check_message(str(error))
        return None
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert 0 < image.shape[0] * image.shape[1] <= max_pixels, image.shape
    header = read_header(data)
    assert sorted(image.shape[:2]) == sorted((header.height, header.width)), f"{image.shape} is not {header}"
    assert resize_image(image, SPEC).shape == (SPEC.height, SPEC.width, 3)
    return image


def check_message(message: str) -> None:
    assert message.isprintable(), message  # no control character, no line break
    assert 0 < len(message) <= LONGEST_MESSAGE, message
    assert "memory" not in message.lower(), message


def check_file(number: int) -> str:
    data = hostile_file(number)
    try:
        # every 50th may be as large as images may be; decoding all of those would take minutes
        image = decoded_or_none(data, MAX_PIXELS if number % 50 == 0 else 1_000_000)
    except Exception as error:
        raise AssertionError(f"file {number}, {len(data)} bytes: {data[:3000].hex()}") from error
    return "refused" if image is None else "decoded"


def test_every_file_is_decoded_or_refused(capfd: pytest.CaptureFixture[str]) -> None:
    counts = check_confined(check_file, range(NUM_FILES), megabytes=MEGABYTES)
    assert sum(counts.values()) == NUM_FILES
    assert min(counts["decoded"], counts["refused"]) > NUM_FILES // 5, counts
    assert capfd.readouterr().err.count("\n") < NUM_FILES  # decoders complain, but not without end


@pytest.mark.parametrize("name", files.valid_files())
def test_the_files_that_are_damaged_are_valid(name: str) -> None:
    image = decoded_or_none(files.valid_files()[name])
    assert image is not None
    shape = (8, 8) if "interlaced" in name else (files.HEIGHT, files.WIDTH)
    assert image.shape[:2] in (shape, shape[::-1])


BOMBS: dict[str, Callable[[], bytes]] = {
    "bmp run lengths": lambda: files.bmp(SIDE, SIDE, 8, 1, b"\0\1", bytes(1024)),
    "webp animated": lambda: files.animated_webp(SIDE, SIDE),
    "png 1 bit": lambda: files.png(SIDE, SIDE, 1, 0, files.packed_zeros(SIDE * (1 + SIDE // 8))),
    "png 16 bits with alpha": lambda: files.png(SIDE, SIDE, 16, 6, files.packed_zeros(SIDE * (1 + 8 * SIDE))),
    "png animated": lambda: files.png(
        SIDE, SIDE, 8, 6, files.packed_zeros(SIDE * (1 + 4 * SIDE)), extra=files.frame_control(SIDE, SIDE)
    ),
    "jpeg cmyk": lambda: files.plain_jpeg(
        0xC2, SIDE, SIDE, 4, files.scan(b"\1\2\3\4", 0, 0, bytes(4 * SIDE * SIDE // 512)), files.ADOBE
    ),
    "jpeg of many scans": lambda: files.many_scans(SIDE, SIDE, MAX_SCANS - 1),
}
"""Legal files of 64 megapixels in as few bytes as can be."""


def check_bomb(number: int) -> str:
    name = list(BOMBS)[number]
    image = decoded_or_none(BOMBS[name]())
    assert image is not None, name
    assert image.shape == (SIDE, SIDE, 3)
    assert np.ptp(image[-SIDE // 2 :]) == 0, name  # one colour
    return name


def test_bombs_take_no_more_than_their_pixels() -> None:
    assert len(check_confined(check_bomb, range(len(BOMBS)), megabytes=MEGABYTES)) == len(BOMBS)


@pytest.mark.parametrize("marker", [0x00, 0x01, 0xD0, 0xD7])
def test_a_jpeg_cannot_show_one_size_and_decode_to_another(marker: int) -> None:
    """These markers have no length. Who reads one skips the true frame, and finds a small one further on."""
    true = files.valid_files()["jpeg"]
    length = int(struct.unpack(">H", true[2:4])[0])  # what stands after the marker, taken for its length
    small = files.plain_jpeg(0xC0, 1, 1, 1, files.scan(b"\1", 0, 63, b"\0"))[2:]
    data = (true[:2] + bytes((0xFF, marker)) + true[2:]).ljust(4 + length, b"\0") + small
    with pytest.raises(InputError, match="damaged JPEG"):
        decode_image(data)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Each scan costs a pass over all pixels: a megabyte of them kept a decoder busy for minutes."""
    assert decode_image(files.many_scans(16, 16, MAX_SCANS - 1)).shape == (16, 16, 3)
    with pytest.raises(InputError, match=f"more than {MAX_SCANS} scans"):
        decode_image(files.many_scans(16, 16, MAX_SCANS))


def test_scans_of_single_components_are_counted_too() -> None:
    """Without being progressive, a JPEG may bring its components one by one, and again, and again."""
    single = [files.scan(bytes((number,)), 0, 63, b"\0") for number in (1, 2, 3)]
    assert decode_image(files.plain_jpeg(0xC0, 8, 8, 3, b"".join(single))).shape == (8, 8, 3)
    with pytest.raises(InputError, match="scans"):
        decode_image(files.plain_jpeg(0xC0, 8, 8, 3, b"".join(single) + single[0] * MAX_SCANS))


def test_bytes_after_a_jpeg_of_one_scan_are_not_taken_for_scans() -> None:
    assert decode_image(files.valid_files()["jpeg"] + b"\xff\xda" * 10_000).shape == (files.HEIGHT, files.WIDTH, 3)


def test_a_bmp_of_os2_is_decoded_and_its_size_is_read() -> None:
    data = files.valid_files()["bmp os/2"]
    assert read_header(data)[:3] == (files.WIDTH, files.HEIGHT, True)
    assert decode_image(data).shape == (files.HEIGHT, files.WIDTH, 3)
    with pytest.raises(InputError, match="truncated"):
        decode_image(data[:-1])
    with pytest.raises(InputError, match="60000 x 50000 pixels"):
        decode_image(files.os2_bmp(60_000, 50_000, bytes(100)))


def test_a_png_begins_with_its_header() -> None:
    data = files.valid_files()["png"]
    with pytest.raises(InputError, match="damaged PNG"):
        decode_image(data[:8] + files.chunk(b"prVt", struct.pack(">II", 4, 4)) + data[8:])


@pytest.mark.parametrize("kind", [b"zTXt", b"tRNS"])
def test_a_png_of_endless_chunks_is_refused(kind: bytes) -> None:
    """Each compressed text cost a decoder 30 milliseconds, each chunk in the wrong place was a line on stderr."""
    data, end = files.valid_files()["png"][:-12], files.valid_files()["png"][-12:]
    assert decode_image(data + files.chunk(b"tEXt", b"a\0b") * (MAX_CHUNKS - 2) + end).shape[2] == 3
    with pytest.raises(InputError, match="a PNG of 5,002 chunks"):
        decode_image(data + files.chunk(kind, b"a\0\0") * 5000 + end)


signatures = st.sampled_from(
    (b"", *files.STARTS, b"RIFF\x10\0\0\0WEBPVP8 ", b"RIFF\x10\0\0\0WEBPVP8L", b"\xff\xd8\xff\xc0\0\x11")
)


@settings(max_examples=1000, deadline=None)
@given(signatures, st.binary(max_size=200))
def test_a_header_is_read_or_refused(signature: bytes, rest: bytes) -> None:
    try:
        header = read_header(signature + rest)
    except InputError as error:
        check_message(str(error))
        return
    assert header.width >= 0
    assert header.height >= 0
