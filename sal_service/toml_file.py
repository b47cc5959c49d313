"""TOML files that people write: what cannot be read, and keys that are misspelt, are refused."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sal_runtime.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file.

    Raises:
        ConfigError: it cannot be read as TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from error


def refuse_unknown(table: Mapping[str, Any], known: Sequence[str], title: str) -> None:
    """Refuse keys that mean nothing.

    Args:
        table: what somebody wrote.
        known: the keys that there are.
        title: of the table, for the message.

    Raises:
        ConfigError: a key is not known; the message suggests what is near in spelling.
    """
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}"
            raise ConfigError(f"{title}: has an unknown key {key!r}; {hint}")
