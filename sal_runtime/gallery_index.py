"""The approximate index beside a gallery file, for galleries whose vectors do not fit into memory.

It lies in `yard.sal.index`, holds coarse copies of all vectors, and is of one state of the gallery: any change makes it
stale, and removing items deletes it, because what is removed must be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sal_runtime.approximate_index import build_index
from sal_runtime.errors import InputError
from sal_runtime.gallery import Gallery
from sal_runtime.gallery_file import index_path

IdArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]
Progress = Callable[[int, int], None]


def build_gallery_index(gallery: Gallery, progress: Progress | None = None) -> Path:
    """Build the index of a gallery anew.

    Args:
        gallery: open for writing, so that nobody changes it meanwhile.
        progress: called with the number of items that are in the index and of all.

    Returns:
        The file.

    Raises:
        BackendError: usearch is not installed.
        InputError: the gallery is open for reading.
        SalError: the file cannot be written.
    """
    if not gallery.is_writable:
        raise InputError(f"gallery {gallery.path}: is open for reading; open it with mode 'w' to build its index")
    total, done = len(gallery), 0

    def counted() -> Iterator[tuple[IdArray, Float32Array]]:
        nonlocal done
        for ids, vectors in gallery.chunks():
            yield ids, vectors
            done += len(ids)
            if progress is not None:
                progress(done, total)

    path = index_path(gallery.path)
    build_index(path, counted(), gallery.stamp())
    return path
