"""Decoded images as one memory-mapped uint8 array: each file is decoded once, not in every epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError, SalError
from sal_runtime.files import make_cache, whole_file
from sal_runtime.images.pixels import load_image
from sal_runtime.images.spec import ImageSpec

MAX_FAILURES_NAMED = 5


def expanded(path: Path) -> Path:
    """A path with its leading `~` replaced by the home directory.

    Raises:
        SalError: the path begins with `~`, and that home directory is not known.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise SalError(f"{path}: there is no such home directory; write the path without ~") from error


def load_images(paths: Sequence[Path], spec: ImageSpec, cache_dir: Path) -> UInt8Array:
    """All images at the encoder's size, decoded on the first call.

    Args:
        paths: N files.
        spec: size.
        cache_dir: folder of the array, whose name depends on the size and on each file's path, length and modification
            time; a changed file makes a new array.

    Returns:
        uint8 RGB [N, height, width, 3], read-only, mapped from the file.

    Raises:
        InputError: some images cannot be read; the message counts them and names the first.
        SalError: the folder of the array cannot be written.
    """
    path = cache_dir / f"images-{_key(paths, spec)}.npy"
    if not path.is_file():
        make_cache(cache_dir)
        _decode_all(paths, spec, path)
    images: UInt8Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def _key(paths: Sequence[Path], spec: ImageSpec) -> str:
    digest = hashlib.sha256(json.dumps(spec.to_json(), sort_keys=True).encode())
    for path in paths:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", error)
            raise InputError(f"{path}: {reason}; `sal data check` lists all missing files") from error
        digest.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def _decode_all(paths: Sequence[Path], spec: ImageSpec, path: Path) -> None:
    shape = (len(paths), spec.height, spec.width, 3)
    failures: list[str] = []

    def decode(index: int) -> None:
        try:
            images[index] = load_image(paths[index], spec)
        except InputError as error:
            failures.append(str(error))

    from rich.console import Console  # the checks of a rented machine run without it
    from rich.progress import track

    console = Console(stderr=True)
    with whole_file(path) as temporary:
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = pool.map(decode, range(len(paths)))
            for _ in track(done, "decoding images", len(paths), console=console, disable=not console.is_terminal):
                pass
        if failures:
            named = "; ".join(sorted(failures)[:MAX_FAILURES_NAMED])
            raise InputError(f"{len(failures)} of {len(paths)} images cannot be read: {named}")
        images.flush()
