"""Backups of a gallery, taken while other processes read and write it.

A backup is a folder that is named after the gallery and a moment. It holds a gallery file and the pictures beside it,
all as they were at that moment, and can be searched and verified like any gallery:

    backups/yard.sal-20261129T021500.125Z/yard.sal
    backups/yard.sal-20261129T021500.125Z/yard.sal.crops/door/2026-11-29/140322.500-17.jpg

A picture that has not changed since the backup before is a hard link to the picture there. A backup holds what is
removed from the gallery later, until it is deleted itself, or `erase_removed` takes that out of it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sal_runtime.arrays import Progress
from sal_runtime.errors import InputError
from sal_runtime.files import sync_directory
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.connect import connect_current
from sal_runtime.gallery.store.file import can_be_written, connect_file, explained, read_meta, resolved, transaction
from sal_service.galleries.copying import CopiedPictures, Known, copy_file, finish_copy, known_items, take_tombstones

NAME = re.compile(r"(?P<gallery>.+)-(?P<moment>\d{8}T\d{6}\.\d{3})Z")
"""The name of the folder of a backup."""
MOMENT = "%Y%m%dT%H%M%S"
UNFINISHED = ".unfinished"
"""What the names of folders end with that are being made or deleted."""
ROUNDS = 5
"""How often to wait for a picture that is being replaced."""
ROUND_SECONDS = 0.2
FEW = 100
"""Changes that are worth no further round before the gallery is held still."""


@dataclass(frozen=True)
class BackupReport:
    """A backup that was made.

    Attributes:
        path: its gallery file.
        moment: the moment whose state it holds, in seconds since 1970.
        items: number of its items.
        pictures: number of its pictures.
        linked: number of those that are hard links to pictures of the backup before.
        differing: items whose pictures are not those that the gallery knows; it is the same in the gallery itself.
        deleted: folders of backups that were deleted because of their age.
        erased: number of items that were taken out of earlier backups because the gallery holds them no more.
    """

    path: Path
    moment: float
    items: int
    pictures: int
    linked: int
    differing: tuple[str, ...]
    deleted: tuple[Path, ...]
    erased: int


def back_up(
    gallery: Path,
    folder: Path,
    *,
    keep_seconds: float | None = None,
    erase_removed: bool = False,
    progress: Progress | None = None,
) -> BackupReport:
    """Back a gallery up, as it is at one moment, and verify the backup; others may read and write the gallery.

    Its writer waits for as long as the few pictures take that were added during the backup.

    Args:
        gallery: its file.
        folder: holds the backups; it is made where it is missing, for its user only.
        keep_seconds: delete backups of the gallery that are older, after the new one is whole; None keeps them all.
        erase_removed: take out of earlier backups what the gallery holds no more, for good.
        progress: called with the number of pictures that were copied, and of all that are to be.

    Raises:
        InputError: this user may not write the gallery, the folder holds backups of another gallery of this name, or
            another backup is being made there.
        SalError: the gallery is damaged, or writing failed; earlier backups are as they were.
    """
    path = resolved(gallery)
    with explained(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with explained(folder), _alone_in(folder), closing(connect_current(path, "r")) as reader:
        if not can_be_written(path):  # only a writer can hold it still
            raise InputError(f"gallery {path}: this user may not write it; back it up as the user that writes it")
        earlier = backups_of(path.name, folder)
        _refuse_other_gallery(path, reader, earlier)
        stage = folder / f"{path.name}{UNFINISHED}"
        stage.mkdir(mode=0o700)
        try:
            with explained(path):
                pictures, known, moment = _copy(path, stage / path.name, reader, earlier, progress)
            os.sync()
            made = folder / f"{path.name}-{_moment_text(moment)}"
            stage.rename(made)
            sync_directory(folder)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        too_old = [] if keep_seconds is None else [old for old in earlier if moment_of(old) < moment - keep_seconds]
        for old in too_old:
            _delete(old.parent)
        kept = [old for old in earlier if old not in too_old]
        erased = sum(_erase_removed(old, made / path.name, known) for old in kept) if erase_removed else 0
    return BackupReport(
        made / path.name,
        moment,
        len(known),
        len(pictures.hashes),
        len(pictures.linked),
        tuple(pictures.differing(known)),
        tuple(old.parent for old in too_old),
        erased,
    )


def backups_of(name: str, folder: Path) -> list[Path]:
    """The gallery files of all backups in a folder of galleries with this file name, oldest first."""
    found = [
        path / name
        for path in folder.glob("*Z")
        if (match := NAME.fullmatch(path.name)) and match["gallery"] == name and (path / name).is_file()
    ]
    return sorted(found, key=moment_of)


def moment_of(backup: Path) -> float:
    """The moment of a backup, by its gallery file, in seconds since 1970."""
    match = NAME.fullmatch(backup.parent.name)
    assert match is not None, backup
    whole, _, thousandths = match["moment"].partition(".")
    return datetime.strptime(whole, MOMENT).replace(tzinfo=UTC).timestamp() + int(thousandths) / 1000


def _moment_text(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):{MOMENT}}.{int(moment * 1000) % 1000:03}Z"


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other backup is made in this folder meanwhile; what a killed one left there is deleted."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{folder}: another process makes a backup there; wait until it is done") from None
        for left in folder.glob(f"*{UNFINISHED}"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(descriptor)


def _refuse_other_gallery(path: Path, reader: sqlite3.Connection, earlier: list[Path]) -> None:
    """Refuse to link to, and to delete, backups of another gallery that only has the same name."""
    if not earlier:
        return
    made_at = read_meta(reader, path).get("created_at")
    with closing(connect_file(earlier[-1], "r", allow_old=True)) as other:
        if read_meta(other, earlier[-1]).get("created_at") != made_at:
            raise InputError(
                f"{earlier[-1].parent.parent}: holds backups of another gallery {path.name}; choose another folder"
            )


def _copy(
    path: Path, copy: Path, reader: sqlite3.Connection, earlier: list[Path], progress: Progress | None
) -> tuple[CopiedPictures, Known, float]:
    """Copy a gallery as it is at one moment: its pictures, its items, and the moment.

    Most pictures are copied while the gallery changes. Then it is held still until those are there, too, that were
    added meanwhile, and its file is copied as it was at that moment.
    """
    before, known_before = None, None
    if earlier:
        before = earlier[-1]
        with closing(connect_file(before, "r", allow_old=True)) as connection:
            known_before = known_items(connection)
    pictures = CopiedPictures(path, copy, before, known_before)
    with closing(connect_file(path, "w")) as holder:
        for number in range(ROUNDS):
            _follow(pictures, reader, progress)
            with transaction(holder):
                moment = time.time()
                reader.execute("BEGIN")
                known = known_items(reader)
                pictures.bring(known)
            if not pictures.differing(known) or number == ROUNDS - 1:
                break
            reader.execute("ROLLBACK")
            time.sleep(ROUND_SECONDS)  # pictures are replaced a moment before their items are
    copy_file(reader, copy)
    reader.execute("ROLLBACK")  # a removal waits for this
    finish_copy(path, copy)
    pictures.keep_only(known)
    return pictures, known, moment


def _follow(pictures: CopiedPictures, reader: sqlite3.Connection, progress: Progress | None) -> None:
    """Copy pictures until few are missing."""
    for _ in range(ROUNDS):
        known = known_items(reader)
        done = len(pictures.hashes)
        pictures.bring(known, progress)
        if len(pictures.hashes) - done < FEW:
            break


def _delete(backup: Path) -> None:
    """Delete the folder of a backup; whoever is killed here leaves no half of it under its name."""
    unfinished = backup.with_name(backup.name + UNFINISHED)
    backup.rename(unfinished)
    shutil.rmtree(unfinished)


def _erase_removed(backup: Path, newest: Path, known: Known) -> int:
    """Take out of an earlier backup what the newest lacks, or has another picture of; say how many items that were."""
    take_tombstones(backup, newest)
    with Gallery.open(backup, "w") as old:
        gone = [item.uri for item in old.all_items() if item.uri not in known or known[item.uri] != item.content_hash]
        if gone:
            old.remove(gone, may_return=True)
        return len(gone)
