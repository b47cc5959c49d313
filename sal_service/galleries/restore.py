"""Bringing a gallery back from a backup.

What was removed from the gallery after the backup stays removed, where the gallery is still there to tell.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sal_runtime.arrays import Progress
from sal_runtime.errors import InputError, SalError
from sal_runtime.files import sync_directory
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.crops import sweep_crops
from sal_runtime.gallery.store.file import (
    connect_file,
    crop_path,
    explained,
    lock_path,
    memory_path,
    resolved,
    snapshot,
)
from sal_runtime.gallery.store.lock import WriterLock
from sal_runtime.gallery.store.tombstones import count_tombstones
from sal_runtime.gallery.store.whole import delete_gallery, side_files
from sal_service.galleries.backup import NAME, backups_of, moment_of
from sal_service.galleries.copying import CopiedPictures, Known, copy_file, finish_copy, known_items, take_tombstones


@dataclass(frozen=True)
class RestoreReport:
    """A gallery that was restored.

    Attributes:
        source: the gallery file of the backup.
        path: the gallery file that was restored.
        items: number of its items.
        pictures: number of pictures beside it.
        removed: number of items of the backup that were left out, because they were removed from the gallery since.
        differing: items whose pictures are not those that the backup knows.
        unknown_removals: whether the gallery that was replaced could not be read: what was removed from it since the
            backup is back.
    """

    source: Path
    path: Path
    items: int
    pictures: int
    removed: int
    differing: tuple[str, ...]
    unknown_removals: bool


def restore(
    backup: Path,
    gallery: Path,
    *,
    replace: bool = False,
    with_removed: bool = False,
    progress: Progress | None = None,
) -> RestoreReport:
    """Make a gallery from a backup; the backup is verified first, and is as it was afterwards.

    Killed before its end, it leaves a gallery that is there as it was, but some of its pictures may be those of the
    backup; restore it again.

    Args:
        backup: the folder of a backup, a folder of backups of one gallery (its newest is taken), or a gallery file.
        gallery: the file to make.
        replace: replace a gallery that is there, unless others have it open.
        with_removed: bring back what was removed from that gallery since the backup.
        progress: called with the number of pictures that were copied, and of all that are to be.

    Raises:
        InputError: there is no such backup, or a gallery is there and `replace` is not set, or others have it open.
        SalError: the backup is damaged, or writing failed; the gallery is as it was.
    """
    source, path = find_backup(backup), resolved(gallery)
    if source == path:
        raise InputError(f"{gallery}: is the backup itself; name another file to restore to")
    if not path.parent.is_dir():
        raise InputError(f"{gallery}: the folder {path.parent} does not exist; make it first")
    lock = WriterLock(path)
    try:
        there = path.exists()
        if there and not replace:
            raise InputError(f"{gallery}: exists already; choose another name, or set replace", parameter="replace")
        readable = _is_readable(path)
        with explained(path):
            pictures, known, removed = _bring(source, path, readable and not with_removed, progress)
        with Gallery.open(path) as restored:
            sweep_crops(path, restored.find)
            count = len(restored)
    finally:
        lock.release()
    return RestoreReport(
        source,
        path,
        count,
        len(pictures.hashes),
        removed,
        tuple(pictures.differing(known)),
        there and not readable and not with_removed,
    )


def find_backup(place: Path) -> Path:
    """The gallery file of a backup: of a folder of backups the newest one.

    Raises:
        InputError: there is none, or there are backups of several galleries.
    """
    place = resolved(place)
    if place.is_file():
        return place
    match = NAME.fullmatch(place.name)
    if match and (place / match["gallery"]).is_file():
        return place / match["gallery"]
    names = {match["gallery"] for path in place.glob("*Z") if (match := NAME.fullmatch(path.name))}
    found = {name: backups for name in names if (backups := backups_of(name, place))}
    if not found:
        raise InputError(f"{place}: is no backup, and holds none; name a folder that `back_up` made")
    if len(found) > 1:
        raise InputError(f"{place}: holds backups of {', '.join(sorted(found))}; name one of the folders in it")
    (backups,) = found.values()
    return max(backups, key=moment_of)


def _is_readable(path: Path) -> bool:
    """Whether a gallery is there, and tells what was removed from it.

    Raises:
        InputError: others have it open.
    """
    if not path.exists():
        return False
    try:
        with explained(path), closing(connect_file(path, "w", allow_old=True)) as connection:
            count_tombstones(connection)
    except SalError:
        return False
    if memory_path(path).exists():  # SQLite deletes it with the last connection
        raise InputError(f"gallery {path}: another process reads it; stop that process, and restore it then")
    return True


def _bring(
    source: Path, path: Path, without_removed: bool, progress: Progress | None
) -> tuple[CopiedPictures, Known, int]:
    """Put a backup in the place of a gallery; gives its pictures and items, and the number of those left out."""
    staged = path.with_name(f".{path.name}.restore")
    delete_gallery(staged)
    pictures = CopiedPictures(source, staged)
    try:
        with closing(connect_file(source, "r", allow_old=True)) as reader, snapshot(reader):
            known = known_items(reader)
            pictures.bring(known, progress)
            copy_file(reader, staged)
        finish_copy(source, staged)
        removed = take_tombstones(staged, path) if without_removed else []
        if removed:
            with Gallery.open(staged, "w") as opened:
                opened.remove(removed, may_return=True)
            known = {uri: known[uri] for uri in known.keys() - set(removed)}
            pictures.keep_only(known)
        _swap(staged, path, pictures.hashes)
    finally:
        delete_gallery(staged)
    return pictures, known, len(removed)


def _swap(staged: Path, path: Path, uris: Iterable[str]) -> None:
    """Put a staged gallery in its place: first the pictures, then the file that names them."""
    for uri in uris:
        source, target = crop_path(staged, uri), crop_path(path, uri)
        assert source is not None
        assert target is not None
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        source.replace(target)
    if path.exists():
        shutil.copymode(path, staged)
    os.sync()
    for left in set(side_files(path)) - {lock_path(path)}:
        left.unlink(missing_ok=True)
    staged.replace(path)
    sync_directory(path.parent)
