"""The approximate index beside a gallery file, for galleries whose vectors do not fit into memory.

The file `yard.sal.index` holds coarse copies of all vectors, for one version of the gallery: any change makes it stale.
Removing items deletes it, because nothing of a removed item may stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sal_runtime.arrays import Float32Array, Int64Array, Progress
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.file import index_path
from sal_runtime.ranking.approximate import build_index


def build_gallery_index(gallery: Gallery, progress: Progress | None = None) -> Path:
    """Build the index of a gallery anew and return its file.

    Args:
        gallery: a gallery open for writing, so that no other process changes it meanwhile.
        progress: called with the number of indexed items, and of all items.

    Raises:
        BackendError: usearch is not installed.
        InputError: the gallery is open for reading.
        SalError: the file cannot be written.
    """
    if not gallery.is_writable:
        raise InputError(f"gallery {gallery.path}: is open for reading; open it with mode 'w' to build its index")
    total, done = len(gallery), 0

    def counted() -> Iterator[tuple[Int64Array, Float32Array]]:
        nonlocal done
        for ids, vectors in gallery.chunks():
            yield ids, vectors
            done += len(ids)
            if progress is not None:
                progress(done, total)

    path = index_path(gallery.path)
    build_index(path, counted(), gallery.stamp())
    return path
