"""Writing a bundle so that at every moment either the old one or the new one is there, whole."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sal_runtime.atomic_write import swap_in, sync_directory, write_synced
from sal_runtime.bundle import (
    FORMAT_VERSION,
    MANIFEST,
    MANIFEST_HASH,
    Bundle,
    bundle_fingerprint,
    manifest_hash_line,
    open_bundle,
)
from sal_runtime.errors import BundleError

ABANDONED_SECONDS = 24 * 3600
"""No writer takes that long; what is older under a temporary name belongs to one that was killed."""


def write_bundle(destination: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle directory, in place of the one that is there if any.

    Everything is written and checked under a temporary name beside the destination, then swapped in by one rename.

    Args:
        destination: the directory.
        manifest: all keys but format_version, files and fingerprint, which are worked out here.
        files: content by file name; must hold every artefact's file.

    Returns:
        The bundle, opened.

    Raises:
        BundleError: the destination is something else than a bundle, or cannot be written; nothing has changed then.
    """
    if destination.exists() and not (destination / MANIFEST).is_file() and any(destination.iterdir()):
        raise BundleError(f"{destination} exists and is not a bundle; name another --out")
    destination.parent.mkdir(parents=True, exist_ok=True)
    _sweep_up(destination)
    temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        for name, content in files.items():
            write_synced(temporary / name, content)
        complete = _complete_manifest(manifest, files)
        text = (json.dumps(complete, indent=1) + "\n").encode()
        write_synced(temporary / MANIFEST, text)
        write_synced(temporary / MANIFEST_HASH, manifest_hash_line(text))
        open_bundle(temporary)
        temporary.chmod(0o755)
        sync_directory(temporary)
        swap_in(temporary, destination)
        sync_directory(destination.parent)
    except OSError as error:
        raise BundleError(f"cannot write {destination}: {error.strerror}; nothing has been changed") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_bundle(destination)


def _sweep_up(destination: Path) -> None:
    """Remove what writers of this bundle who were killed have left."""
    for folder in destination.parent.glob(f".{glob.escape(destination.name)}.*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _complete_manifest(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    listed = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
    complete = {"format_version": FORMAT_VERSION, **manifest, "files": listed}
    return {**complete, "fingerprint": bundle_fingerprint(complete)}
