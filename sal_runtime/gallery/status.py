"""What a gallery holds, and what waits to be encoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sal_runtime.gallery.folder import folder_changes, gallery_path_for, locate
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.file import log_path
from sal_runtime.gallery.store.recorded import Recorded
from sal_runtime.gallery.store.whole import side_files


@dataclass(frozen=True)
class Status:
    """What a gallery holds.

    Attributes:
        path: the gallery file.
        items: number of images.
        bytes: size on disk, with the log beside the file.
        bundle: name of the bundle that made the embeddings.
        fingerprint: identifies that bundle.
        embedding_dim: length of a vector.
        follows: the folder that the gallery follows, if any.
        pending: images that the next search of that folder will encode or forget; None if it follows none, or if the
            folder is gone.
        held_back: number of removed images that do not come back with the next update.
        recorded: cameras, number of tracks, time span and metadata of the images.
        left_behind: the files of a gallery whose folder was moved or deleted; its images can still be found until
            these files are deleted. Empty otherwise.
    """

    path: Path
    items: int
    bytes: int
    bundle: str
    fingerprint: str
    embedding_dim: int
    follows: Path | None
    pending: dict[str, int] | None
    held_back: int
    recorded: Recorded
    left_behind: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        shown = {name: value for name, value in vars(self).items() if name != "recorded"} | self.recorded.to_json()
        shown |= {"path": str(self.path), "left_behind": [str(file) for file in self.left_behind]}
        return shown | {"follows": None if self.follows is None else str(self.follows)}


def read_status(place: Path) -> Status:
    """Look at a gallery without changing it.

    Raises:
        InputError: there is none at `place`.
    """
    path = locate(place)
    with Gallery.open(path) as gallery:
        files = (path, log_path(path))
        follows = gallery.root
        pending = None
        if follows is not None and follows.is_dir() and gallery_path_for(follows) == path.resolve():
            changes = folder_changes(follows, gallery)
            pending = {name: len(getattr(changes, name)) for name in ("new", "changed", "removed")}
        status = Status(
            path=path,
            items=len(gallery),
            bytes=sum(file.stat().st_size for file in files if file.exists()),
            bundle=gallery.meta["bundle_name"],
            fingerprint=gallery.fingerprint,
            embedding_dim=gallery.embedding_dim,
            follows=follows,
            pending=pending,
            held_back=gallery.num_held_back(),
            recorded=gallery.recorded(),
        )
    if follows is None or follows.is_dir():
        return status
    return replace(status, left_behind=tuple(file for file in (path, *side_files(path)) if file.exists()))
