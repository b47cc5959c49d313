"""Finding the image files of a folder."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sal_runtime.errors import InputError
from sal_runtime.images.header import begins_as_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".png", ".webp", ".bmp", ".dib")
_OTHERS = ".avif .gif .heic .heif .hif .jp2 .jxl .jxr .pbm .pgm .pnm .ppm .tga .tif .tiff .arw .cr2 .cr3 .dng .nef .raf"
OTHER_IMAGE_SUFFIXES = tuple(_OTHERS.split())
"""Suffixes of images that are not decoded; they are reported, because a person would expect to find them."""


class ImageFile(NamedTuple):
    """The state of a file that should be an image.

    Attributes:
        path: path that opens the file.
        size: bytes.
        mtime_ns: time of the last change, nanoseconds since 1970.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass
class Listing:
    """Image files found in a folder.

    Attributes:
        files: files by their path relative to the folder, with `/` between the parts.
        failed: (path, reason) of each file or folder that could not be examined.
        unlisted: relative paths of the folders that could not be entered, each with a final `/`.
        passed_over: number of files that are no images by their names, by suffix in lower case.
    """

    files: dict[str, ImageFile] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    def nothing(self) -> str:
        """For a message: that there is no image, and which files were passed over."""
        others = counts_by_suffix(self.passed_over)
        return "no image (JPEG, PNG, WebP or BMP)" + (f"; passed over: {others}" if others else "")


def counts_by_suffix(counts: Mapping[str, int]) -> str:
    """For a message: the most frequent suffixes of files, with their numbers."""
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in Counter(counts).most_common(5))


def list_images(folder: Path) -> Listing:
    """Find the images below a folder by their suffix; only files without one are opened, to read a few bytes.

    Images of formats that are not decoded (TIFF, HEIC, AVIF, ...) are in `failed`; all other files are counted. Links
    are followed, and each folder is entered once. Names that begin with a dot are skipped, because operating systems
    leave such files behind (`._0001.jpg` is not an image).

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder or gallery file")
    listing = Listing()

    def note_unlisted(error: OSError) -> None:
        listing.failed.append((str(error.filename), f"cannot be entered ({error.strerror})"))
        listing.unlisted.append(os.path.relpath(error.filename, folder).replace(os.sep, "/") + "/")

    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=note_unlisted, followlinks=True):
        state = os.stat(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        inside = os.path.relpath(place, folder).replace(os.sep, "/") + "/"
        prefix = "" if inside == "./" else inside
        for name in sorted(names):
            if not name.startswith("."):
                _note_found(listing, os.path.join(place, name), prefix + name)
    return listing


def _note_found(listing: Listing, path: str, uri: str) -> None:
    """Add a file that was found in a folder, if it is an image, or count it."""
    suffix = os.path.splitext(path.rstrip())[1].lower()
    if suffix in IMAGE_SUFFIXES or (not suffix and _begins_as_image(path)):
        note_file(listing, path, uri)
    elif suffix in OTHER_IMAGE_SUFFIXES:
        listing.failed.append((_printable(path), f"{suffix} is not read; convert it to JPEG, PNG, WebP or BMP"))
    else:
        listing.passed_over[suffix] += 1


def _begins_as_image(path: str) -> bool:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return begins_as_image(file.read(12))
    except OSError:
        return False


def note_file(listing: Listing, path: str, uri: str) -> None:
    """Add a file to a listing under `uri`, or the reason why it cannot be an image."""
    try:
        path.encode()
        state = os.stat(path)
    except UnicodeEncodeError:
        listing.failed.append((_printable(path), "its name is not valid UTF-8; rename it"))
        return
    except OSError as error:
        listing.failed.append((path, error.strerror or str(error)))
        return
    if not stat.S_ISREG(state.st_mode):
        listing.failed.append((path, "is not a file"))  # a pipe would block the reader for ever
        return
    listing.files[uri] = ImageFile(path, state.st_size, state.st_mtime_ns)


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def content_hash(path: str) -> str:
    """sha256 (hex) of a file.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
