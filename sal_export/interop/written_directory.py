"""A directory of files made from a bundle, which replaces an earlier one of the same kind in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sal_export.directories import replace_directory
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import InputError, SalError
from sal_runtime.version import __version__

MARKER = "sal.json"
"""Records the command that wrote the directory, the bundle, and the files it wrote."""


def write_directory(out: Path, command: str, bundle: Bundle, files: Mapping[str, bytes], cache: str = "") -> None:
    """Write files under `out`; a directory that the same command wrote before is replaced whole.

    Args:
        out: the directory.
        command: name of the command that writes it.
        bundle: source of the files.
        files: content by path relative to `out`.
        cache: suffix of files that other programs derive from these and leave in `out`; they are removed as well.

    Raises:
        InputError: `out` holds something that the command did not write.
        SalError: the directory cannot be written; nothing has changed.
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
    """Refuse a directory that another command wrote, or to which somebody added files."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        marker = json.loads((out / MARKER).read_text(encoding="utf-8"))
        written = {MARKER, *marker["files"]} if marker["command"] == command else None
    except (OSError, ValueError, KeyError, TypeError):
        written = None
    if written is None:
        raise InputError(f"{out} exists and was not written by `{command}`; name another directory", parameter="out")
    present = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    foreign = sorted(name for name in present - written if not (cache and name.endswith(cache)))
    if foreign:
        raise InputError(
            f"{out} holds {foreign[0]}, which `{command}` did not write; move it away or name another directory",
            parameter="out",
        )
