"""Text files that people write: tables, schemas and recipes, from any editor."""

from __future__ import annotations

from pathlib import Path

from sal_runtime.errors import InputError

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or of a UTF-16 file with a byte-order mark, as Windows programs write them.

    The byte-order mark is left out. Line ends stay as they are.

    Raises:
        InputError: the file cannot be read, or is not such text.
    """
    try:
        data = path.read_bytes()
        return data.decode("utf-16" if data.startswith(UTF_16_MARKS) else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
