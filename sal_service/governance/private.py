"""Files that only their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sal_runtime.errors import ConfigError

SHORTEST_KEY = 32
"""Fewest bytes of a key."""


def check_private(path: Path, descriptor: int | None = None) -> None:
    """Refuse a file that others than its owner may read or write.

    Args:
        path: of the file.
        descriptor: of the file where it is open, so that it cannot be exchanged meanwhile.

    Raises:
        ConfigError: others may.
        OSError: there is no such file.
    """
    mode = stat.S_IMODE((os.stat(path) if descriptor is None else os.fstat(descriptor)).st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path}: has the mode {mode:04o}, so others may open it; type `chmod 600 {path}`")


def read_key(path: Path) -> bytes:
    """The secret key in a file; white space around it does not count.

    Raises:
        ConfigError: the file cannot be read, others may read it, or the key is shorter than 32 bytes.
    """
    try:
        check_private(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"{path}: holds a key of {len(key)} bytes, expected at least {SHORTEST_KEY}; "
            f"make one with `openssl rand -hex {SHORTEST_KEY} > {path}`"
        )
    return key
