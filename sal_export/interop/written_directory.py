"""A directory of files made from a bundle, put in place of an older one in one step and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import InputError, SalError
from sal_runtime.files import replace_directory
from sal_runtime.version import __version__

MARKER = "sal.json"
"""Says what wrote the directory, from which bundle, and which files it wrote."""


def write_directory(out: Path, command: str, bundle: Bundle, files: Mapping[str, bytes], cache: str = "") -> None:
    """Write files under `out`; what this function wrote there before is replaced whole.

    Args:
        out: the directory.
        command: that writes it; a directory of another command is not replaced.
        bundle: that the files are made from.
        files: content by path relative to `out`.
        cache: suffix of files that others leave there and that must go with what they were made from.

    Raises:
        InputError: something is there that this command did not write.
        SalError: it cannot be written; nothing has changed then.
    """
    _check_replaceable(out, command, cache)
    marker = {
        "command": command,
        "sal_version": __version__,
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "licence": bundle.manifest["licence"],
        "files": sorted(files),
    }
    content = {**files, MARKER: (json.dumps(marker, indent=1) + "\n").encode()}
    try:
        replace_directory(out, content)
    except OSError as error:
        raise SalError(f"cannot write {out}: {error.strerror}; nothing has been changed") from error


def _check_replaceable(out: Path, command: str, cache: str) -> None:
    """Only what the same command wrote goes, and only while nobody has put anything else beside it."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
        written = {MARKER, *marker["files"]} if marker["command"] == command else None
    except (OSError, ValueError, KeyError, TypeError):
        written = None
    if written is None:
        raise InputError(f"{out} exists and was not written by `{command}`; name another --out")
    there = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    foreign = sorted(name for name in there - written if not (cache and name.endswith(cache)))
    if foreign:
        raise InputError(
            f"{out} holds {foreign[0]}, which `{command}` did not write; move it away or name another --out"
        )
