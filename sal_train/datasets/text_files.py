"""Text files that people write: tables, schemas and recipes, from any editor."""

from __future__ import annotations

from pathlib import Path

from sal_runtime.errors import InputError

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or of a UTF-16 file with a byte-order mark, as Windows programs write them.

    Byte-order marks are left out. Line ends stay as they are.

    Raises:
        InputError: the file cannot be read, or is not such text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        text = data.decode("utf-16" if data.startswith(UTF_16_MARKS) else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    if "\0" in text:
        raise InputError(f"{path}: is not text in UTF-8 (it holds NUL characters); save it as UTF-8")
    return text.lstrip("\ufeff")
