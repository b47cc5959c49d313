"""The store of built TensorRT engines: finds one that fits, or says why none does. Imports no TensorRT.

Engines are kept outside the bundle, because each runs on one library version and one kind of GPU, and because a file
that TensorRT loads is executable code: it only ever loads what this store wrote, unaltered. See docs/engines.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sal_runtime.engines.tensorrt.key import EngineKey, differences
from sal_runtime.errors import BackendError
from sal_runtime.files import sync_directory, write_synced
from sal_runtime.version import __version__

PLAN = "engine.plan"
RECORD = "engine.json"
RECORD_FORMAT = 1
PRIVATE = 0o700
OWNER_ONLY = 0o600
WRITABLE_BY_OTHERS = 0o022


@dataclass(frozen=True)
class StoredEngine:
    """A complete entry of the store.

    Attributes:
        folder: folder of the entry.
        key: what the engine was built from and for.
        sha256: sha256 of the plan when it was built, hex.
        size: size of the plan in bytes.
        created: when it was built, UTC, ISO 8601.
        inspection: proof of the precision (`PrecisionProof.to_json`).
    """

    folder: Path
    key: EngineKey
    sha256: str
    size: int
    created: str
    inspection: Mapping[str, Any]


@dataclass(frozen=True)
class Mismatch:
    """Why no stored engine fits: how the most similar engine of the encoder differs, or that there is none."""

    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons)


def find_engine(store: Path, wanted: EngineKey) -> Path | Mismatch:
    """The folder of the engine that fits, or why none does; reads no plan.

    Raises:
        BackendError: other users may write to the store.
    """
    engines = list_engines(store)
    for engine in engines:
        if not differences(engine.key, wanted):
            return engine.folder
    same = [engine for engine in engines if engine.key.artefact_sha256 == wanted.artefact_sha256]
    if not same:
        return Mismatch((f"no engine of this graph in {store}",))
    nearest = min(same, key=lambda engine: len(differences(engine.key, wanted)))
    return Mismatch(tuple(differences(nearest.key, wanted)))


def read_engine(folder: Path) -> bytes:
    """Read the plan of an entry and compare it with the sha256 of the plan that was built.

    Raises:
        BackendError: the plan cannot be read or was altered; TensorRT must not load it.
    """
    _refuse_shared(folder.parent)
    engine = _whole_entry(folder)
    if engine is None:
        raise BackendError(f"engine {folder} is incomplete; delete that folder to build it again")
    try:
        plan = (folder / PLAN).read_bytes()
    except OSError as error:
        raise BackendError(f"engine {folder / PLAN} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(plan).hexdigest()
    if found != engine.sha256:
        raise BackendError(
            f"engine {folder / PLAN} was altered: its sha256 is {found[:12]}..., {RECORD} says "
            f"{engine.sha256[:12]}...; engines are executable code, so find out why; then delete that folder, and the "
            "engine is built again"
        )
    return plan


def save_engine(store: Path, key: EngineKey, plan: bytes, inspection: Mapping[str, Any]) -> Path:
    """Put a newly built plan into the store; returns the folder of the entry.

    The entry is written under a temporary name and renamed when complete. If another process was faster, its entry
    stays.

    Raises:
        BackendError: the store cannot be written, or other users may write to it.
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
    final = store / key.digest
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
    """The complete entries, newest first; partial and unreadable ones are skipped.

    Raises:
        BackendError: other users may write to the store.
    """
    if not store.is_dir():
        return []
    _refuse_shared(store)
    entries = [_whole_entry(folder) for folder in sorted(store.iterdir()) if not folder.name.startswith(".")]
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.created, reverse=True)


def _whole_entry(folder: Path) -> StoredEngine | None:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        if record["format"] != RECORD_FORMAT or (folder / PLAN).stat().st_size != record["bytes"]:
            return None
        key = EngineKey.from_json(record["key"])
        if key.digest != folder.name:
            return None
        return StoredEngine(
            folder, key, record["sha256"], record["bytes"], str(record["created"]), record["inspection"]
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, BackendError):
        return None


def _refuse_shared(store: Path) -> None:
    """Refuse a store that another user owns or may write to: that user could run code as this one."""
    status = store.stat()
    if status.st_uid != os.geteuid() or status.st_mode & WRITABLE_BY_OTHERS:
        raise BackendError(
            f"engine store {store}: other users may write to it (mode {status.st_mode & 0o777:o}, "
            f"owner {status.st_uid}), and engines are executable code; chmod 700 {store}, or name another store"
        )


def _move_in(partial: Path, final: Path) -> None:
    try:
        partial.rename(final)
    except OSError:  # the entry exists
        if _whole_entry(final) is None:  # but it is broken: replace it
            broken = Path(tempfile.mkdtemp(prefix=".partial-", dir=final.parent))
            final.rename(broken)
            shutil.rmtree(broken, ignore_errors=True)
            partial.rename(final)
