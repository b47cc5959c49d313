"""Pictures that a gallery keeps itself, in a folder beside its file; they go when their items go.

The uri of such an item is `crop:` and the path of the picture in that folder, such as
`crop:door/2026-11-28/140322.500-17-1.jpg`. So a gallery file can move, together with the folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from sal_runtime.arrays import batched
from sal_runtime.files import sync_directory, write_synced
from sal_runtime.gallery.store.file import CROP_SCHEME, crop_path, crops_folder

PARTIAL = ".partial"
"""What the name of a picture ends with that is not whole yet."""
AT_A_TIME = 1000


def write_crop(path: Path, uri: str, content: bytes) -> None:
    """Keep the picture of an item beside the gallery file `path`; call it before the item is added.

    Args:
        path: of the gallery file, which the caller has open for writing.
        uri: of the item.
        content: of the picture file; it appears under its name when it is whole.

    Raises:
        ValueError: the uri names no such picture.
        OSError: it cannot be written.
    """
    file = crop_path(path, uri)
    if file is None:
        raise ValueError(f"{uri!r} names no picture beside a gallery")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(file.name + PARTIAL)
    try:
        write_synced(temporary, content, 0o600)
        temporary.replace(file)
        sync_directory(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def delete_crops(path: Path, uris: Iterable[str]) -> None:
    """Delete the pictures of items of the gallery file `path`, and folders that are empty then.

    Raises:
        OSError: one cannot be deleted.
    """
    files = [file for uri in uris if (file := crop_path(path, uri)) is not None]
    for file in files:
        file.unlink(missing_ok=True)
    _remove_empty({file.parent for file in files}, crops_folder(path))


def sweep_crops(path: Path, known: Callable[[list[str]], Iterable[str]]) -> int:
    """Delete the pictures that no item has: their writer was killed before it added the item. Say how many there were.

    Args:
        path: of the gallery file, which the caller has open for writing.
        known: gives those of some uris that the gallery has.

    Raises:
        OSError: one cannot be deleted.
    """
    folder = crops_folder(path)
    names = (Path(parent, name).relative_to(folder) for parent, _, files in os.walk(folder) for name in files)
    left = 0
    for uris in batched((CROP_SCHEME + name.as_posix() for name in names), AT_A_TIME):
        orphans = set(uris) - set(known(uris))
        delete_crops(path, orphans)
        left += len(orphans)
    return left


def _remove_empty(folders: Iterable[Path], stop: Path) -> None:
    """Remove those folders that are empty, and those above them, up to and with `stop`."""
    for folder in folders:
        for above in (folder, *folder.parents):
            with suppress(OSError):  # it is not empty, or gone
                above.rmdir()
            if above == stop:
                break
