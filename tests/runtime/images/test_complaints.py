"""What decoders print while they go on over damage: it is an error of that file, and never a line on stderr."""

from __future__ import annotations

import ctypes
import platform
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_runtime.images.complaints import damage_in, listening
from sal_runtime.images.pixels import decode_image

PIXELS = np.random.default_rng(7).integers(0, 255, (96, 64, 3), np.uint8)


def encoded(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, PIXELS, options)[1].tobytes()


def zeroed_in_the_middle(data: bytes) -> bytes:
    """The last three quarters are zeros, but the end marker is where it was."""
    return data[: len(data) // 4] + bytes(len(data) * 3 // 4 - 2) + data[-2:]


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_a_jpeg_with_zeros_inside_is_damaged(options: tuple[int, ...], capfd: pytest.CaptureFixture[str]) -> None:
    whole = encoded(".jpg", *options)
    assert decode_image(whole).shape == PIXELS.shape
    with pytest.raises(InputError, match=r"damaged image .Corrupt JPEG data: "):
        decode_image(zeroed_in_the_middle(whole))
    assert capfd.readouterr().err == ""


def test_a_png_with_a_wrong_checksum_is_damaged(capfd: pytest.CaptureFixture[str]) -> None:
    whole = bytearray(encoded(".png"))
    whole[len(whole) // 2] ^= 1
    with pytest.raises(InputError, match="damaged image"):
        decode_image(bytes(whole))
    assert capfd.readouterr().err == ""


def test_a_warning_about_colour_profiles_is_neither_damage_nor_shown(capfd: pytest.CaptureFixture[str]) -> None:
    whole = encoded(".png")
    profile = b"icc\0\0" + zlib.compress(b"no profile")
    chunk = struct.pack(">I", len(profile)) + b"iCCP" + profile + struct.pack(">I", zlib.crc32(b"iCCP" + profile))
    np.testing.assert_array_equal(decode_image(whole[:33] + chunk + whole[33:]), PIXELS[..., ::-1])
    assert capfd.readouterr().err == ""


def test_padding_before_the_end_of_a_jpeg_is_no_damage() -> None:
    whole = encoded(".jpg")
    padded = whole[:-2] + bytes(5) + whole[-2:]
    np.testing.assert_array_equal(decode_image(padded), decode_image(whole))
    assert damage_in("Corrupt JPEG data: 5 extraneous bytes before marker 0xd9\n", bytes(9)) == ""
    assert damage_in("Corrupt JPEG data: 500 extraneous bytes before marker 0xd9\n", bytes(900))
    assert damage_in("Corrupt JPEG data: 5 extraneous bytes before marker 0xd5\n", bytes(9))


def test_bytes_that_damage_leaves_over_are_no_padding() -> None:
    whole = encoded(".jpg")
    left_over = whole[-40:-2]
    with pytest.raises(InputError, match="damaged image"):
        decode_image(whole[:-2] + left_over + whole[-2:])
    previewed = whole[:-2] + bytes(5) + whole[-2:] + left_over + whole[-2:]  # bytes after the end mean nothing
    np.testing.assert_array_equal(decode_image(previewed), decode_image(whole))


def test_each_thread_hears_of_its_own_image() -> None:
    whole = encoded(".jpg")
    broken = zeroed_in_the_middle(whole)

    def is_whole(number: int) -> bool:
        try:
            decode_image(broken if number % 3 == 0 else whole)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(is_whole, range(600))) == [number % 3 != 0 for number in range(600)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the stderr of glibc can be listened to")
def test_what_other_threads_print_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    libc = ctypes.CDLL(None)

    def print_in_c(text: bytes) -> None:
        libc.fputs(text, ctypes.c_void_p.in_dll(libc, "stderr"))

    def decode(path: str, *, flags: int) -> tuple[str, int]:
        with ThreadPoolExecutor(1) as pool:
            print_in_c(b"mine")
            pool.submit(print_in_c, b"theirs\n").result()
        return path, flags

    assert listening(decode, "a.jpg", flags=1) == (("a.jpg", 1), "mine")
    print_in_c(b"after\n")
    assert capfd.readouterr().err == "theirs\nafter\n"


def test_a_process_ends_as_usual_after_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg"))
    code = (
        "import os, sys\nfrom sal_runtime.images.pixels import decode_image\n"
        "data = open(sys.argv[1], 'rb').read()\ndecode_image(data)\n"
        "child = os.fork()\ndecode_image(data)\nif child: os.waitpid(child, 0); print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.jpg"], cwd=Path(__file__).parents[3], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the stderr of glibc can be listened to")
def test_a_child_forked_while_another_thread_decodes_has_the_stderr_of_c(tmp_path: Path) -> None:
    code = (
        "import ctypes, os, threading\nfrom sal_runtime.images.complaints import listening\n"
        "started, ended = threading.Event(), threading.Event()\n"
        "def decode():\n    started.set()\n    ended.wait()\n"
        "other = threading.Thread(target=listening, args=(decode,))\nother.start()\nstarted.wait()\n"
        "libc = ctypes.CDLL(None)\nchild = os.fork()\n"
        "if child == 0:\n    libc.perror(b'child')\n    listening(libc.perror, b'unheard')\n    os._exit(0)\n"
        "os.waitpid(child, 0)\nended.set()\nother.join()\nlibc.perror(b'parent')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["child", "parent"]
