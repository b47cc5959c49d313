"""The store of built TensorRT engines: which fits, is it whole, and why not. Imports no TensorRT.

Engines lie outside the bundle, because they are good for one library version on one kind of GPU, and because a file
that is given to TensorRT is executable code: only what this store wrote, unaltered, ever is. See docs/engines.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sal_runtime.engines.tensorrt.key import EngineKey, differences
from sal_runtime.errors import BackendError
from sal_runtime.files import ABANDONED_SECONDS, sync_directory, write_synced
from sal_runtime.version import __version__

PLAN = "engine.plan"
RECORD = "engine.json"
RECORD_FORMAT = 1
PRIVATE = 0o700
OWNER_ONLY = 0o600
WRITABLE_BY_OTHERS = 0o022


@dataclass(frozen=True)
class StoredEngine:
    """A whole entry of the store.

    Attributes:
        folder: of the entry.
        key: what it is for.
        sha256: of the plan, when it was built.
        bytes: length of the plan.
        created: UTC, ISO 8601.
        inspection: how the precision was proved (`PrecisionProof.to_json`).
    """

    folder: Path
    key: EngineKey
    sha256: str
    bytes: int
    created: str
    inspection: Mapping[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """Why no stored engine fits: how the nearest one of the same encoder differs, or that there is none."""

    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons)


def default_store() -> Path:
    """`$XDG_CACHE_HOME/sal/engines`, or `~/.cache/sal/engines`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sal" / "engines"


def find_engine(store: Path, wanted: EngineKey) -> Path | Mismatch:
    """The folder of the engine that fits, or why there is none; reads no plan.

    Raises:
        BackendError: others may write to the store.
    """
    there = list_engines(store)
    for engine in there:
        if not differences(engine.key, wanted):
            return engine.folder
    same = [engine for engine in there if engine.key.artefact_sha256 == wanted.artefact_sha256]
    if not same:
        return Mismatch((f"no engine of this encoder in {store}",))
    nearest = min(same, key=lambda engine: len(differences(engine.key, wanted)))
    return Mismatch(tuple(differences(nearest.key, wanted)))


def read_engine(folder: Path) -> bytes:
    """The plan of an entry, compared with the hash of the one that was built.

    Raises:
        BackendError: it cannot be read or was altered; nothing of it may be given to TensorRT then.
    """
    _refuse_shared(folder.parent)
    engine = _whole_entry(folder)
    if engine is None:
        raise BackendError(f"engine {folder} is not whole; remove that folder and it is built again")
    try:
        plan = (folder / PLAN).read_bytes()
    except OSError as error:
        raise BackendError(f"engine {folder / PLAN} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(plan).hexdigest()
    if found != engine.sha256:
        raise BackendError(
            f"engine {folder / PLAN} was altered: its sha256 is {found[:12]}..., {RECORD} says "
            f"{engine.sha256[:12]}...; engines are executable code, so find out why; "
            "remove that folder and it is built again"
        )
    return plan


def save_engine(store: Path, key: EngineKey, plan: bytes, inspection: Mapping[str, Any]) -> Path:
    """Put a plan that was just built into the store; the folder of the entry.

    Written under a temporary name and renamed when whole. Where another process was faster, its entry stays.

    Raises:
        BackendError: the store cannot be written, or others may write to it.
    """
    record = {
        "format": RECORD_FORMAT,
        "key": asdict(key),
        "sha256": hashlib.sha256(plan).hexdigest(),
        "bytes": len(plan),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "sal_version": __version__,
        "inspection": dict(inspection),
    }
    final = store / key.hash
    try:
        store.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        _refuse_shared(store)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=store))
        try:
            write_synced(partial / PLAN, plan, OWNER_ONLY)
            write_synced(partial / RECORD, (json.dumps(record, indent=1) + "\n").encode(), OWNER_ONLY)
            sync_directory(partial)
            _move_in(partial, final)
            sync_directory(store)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise BackendError(f"cannot write the engine to {final}: {error.strerror}") from error
    return final


def list_engines(store: Path) -> list[StoredEngine]:
    """The whole entries, newest first; what is half written or unreadable does not count.

    Raises:
        BackendError: others may write to the store.
    """
    if not store.is_dir():
        return []
    _refuse_shared(store)
    entries = [_whole_entry(folder) for folder in sorted(store.iterdir()) if not folder.name.startswith(".")]
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.created, reverse=True)


def remove_stale(store: Path, keep: Collection[EngineKey]) -> list[EngineKey]:
    """Remove every engine whose key is not to be kept, and what dead writers left; the keys removed."""
    stale = [engine for engine in list_engines(store) if engine.key not in keep]
    for engine in stale:
        shutil.rmtree(engine.folder, ignore_errors=True)
    for partial in store.glob(".partial-*"):
        if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink(missing_ok=True)
    return [engine.key for engine in stale]


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside an engine store's entries so that a reader sees the old or the new one, whole."""
    path.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    os.close(descriptor)
    write_synced(Path(partial), content)
    os.replace(partial, path)
    sync_directory(path.parent)


def _whole_entry(folder: Path) -> StoredEngine | None:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record["format"] != RECORD_FORMAT or (folder / PLAN).stat().st_size != record["bytes"]:
            return None
        key = EngineKey.from_json(record["key"])
        if key.hash != folder.name:
            return None
        return StoredEngine(
            folder, key, record["sha256"], record["bytes"], str(record["created"]), record["inspection"]
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, BackendError):
        return None


def _refuse_shared(store: Path) -> None:
    """Whoever may write to the store may run code as us; a folder of another user, or open to others, is not used."""
    status = store.stat()
    if status.st_uid != os.geteuid() or status.st_mode & WRITABLE_BY_OTHERS:
        raise BackendError(
            f"engine store {store}: others may write to it (mode {status.st_mode & 0o777:o}, owner {status.st_uid}), "
            f"and engines are executable code; chmod 700 {store}, or name another store"
        )


def _move_in(partial: Path, final: Path) -> None:
    try:
        partial.rename(final)
    except OSError:  # there is one already
        if _whole_entry(final) is None:  # but it is broken: replace it
            broken = Path(tempfile.mkdtemp(prefix=".partial-", dir=final.parent))
            final.rename(broken)
            shutil.rmtree(broken, ignore_errors=True)
            partial.rename(final)
