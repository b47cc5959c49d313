"""Folders of little pictures for tests of galleries: plain colours, so that the tiny encoder tells them apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (32, 16)) -> Path:
    """An image file of one RGB colour; the format is that of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), colour[::-1], dtype=np.uint8)
    _, data = cv2.imencode(path.suffix.lower(), image)
    path.write_bytes(data.tobytes())
    return path


def make_folder(folder: Path) -> Path:
    """Six images in three folders and four formats, and things that are no images."""
    write_image(folder / "red.jpg", (250, 10, 10))
    write_image(folder / "green.PNG", (10, 250, 10))
    write_image(folder / "cam 1" / "blue.bmp", (10, 10, 250))
    write_image(folder / "cam 1" / "white.webp", (250, 250, 250))
    write_image(folder / "cam 1" / "deep" / "black.jpeg", (5, 5, 5))
    write_image(folder / "cam 1" / "deep" / "größe.jpg", (120, 60, 200))
    (folder / "notes.txt").write_text("not an image, and not called one")
    (folder / "._red.jpg").write_bytes(b"what an operating system leaves behind")
    return folder


IMAGE_URIS = (
    "cam 1/blue.bmp",
    "cam 1/deep/black.jpeg",
    "cam 1/deep/größe.jpg",
    "cam 1/white.webp",
    "green.PNG",
    "red.jpg",
)


def add_unreadable(folder: Path) -> tuple[str, ...]:
    """Puts one file of every unreadable kind beside the images; returns their names."""
    whole = (folder / "red.jpg").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("hello, I am a text file")
    header = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452") + (20_000).to_bytes(4, "big") * 2
    (folder / "huge.png").write_bytes(header + bytes.fromhex("0802000000") + bytes(64))
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    damaged = bytearray(b"BM" + whole[2:])
    (folder / "damaged.bmp").write_bytes(bytes(damaged))
    return ("damaged.bmp", "dangling.jpg", "empty.jpg", "huge.png", "text.png", "truncated.jpg")
