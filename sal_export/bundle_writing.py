"""Writes a bundle; at every moment either the old one or the new one exists, complete."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sal_export.directories import replace_directory
from sal_runtime.bundle.bundle import (
    FORMAT_VERSION,
    MANIFEST,
    MANIFEST_HASH,
    Bundle,
    bundle_fingerprint,
    manifest_hash_line,
    open_bundle,
)
from sal_runtime.errors import BundleError


def write_bundle(destination: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle directory; an existing bundle is replaced.

    Everything is written and checked under a temporary name beside the destination, then swapped in by one rename.

    Args:
        destination: the directory.
        manifest: all keys but format_version, files and fingerprint, which are computed here.
        files: content by file name; must contain the file of every artefact.

    Returns:
        The bundle, opened.

    Raises:
        BundleError: the destination exists and is not a bundle, or cannot be written; then nothing has changed.
    """
    check_destination(destination)
    complete = _complete_manifest(manifest, files)
    text = (json.dumps(complete, indent=1) + "\n").encode()
    try:
        replace_directory(
            destination, {**files, MANIFEST: text, MANIFEST_HASH: manifest_hash_line(text)}, check=open_bundle
        )
    except OSError as error:
        raise BundleError(f"cannot write {destination}: {error.strerror}; nothing has been changed") from error
    return open_bundle(destination)


def check_destination(destination: Path) -> None:
    """Check that a bundle may be written there, before the work that precedes it.

    Raises:
        BundleError: it is a file, a folder that holds something else, or in a place that cannot be written.
    """
    if destination.exists() and not destination.is_dir():
        raise BundleError(f"{destination} is a file, expected a folder; name another destination", parameter="out")
    if destination.is_dir() and not (destination / MANIFEST).is_file() and any(destination.iterdir()):
        raise BundleError(f"{destination} exists and is not a bundle; name another destination", parameter="out")
    parent = next(folder for folder in destination.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise BundleError(f"{destination} cannot be written in {parent}; name another destination", parameter="out")


def _complete_manifest(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    listed = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
    complete = {"format_version": FORMAT_VERSION, **manifest, "files": listed}
    return {**complete, "fingerprint": bundle_fingerprint(complete)}
