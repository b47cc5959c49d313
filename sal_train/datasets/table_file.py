"""The file of your own data: finds it in a folder, and reads its rows from CSV, TSV, JSON Lines or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sal_runtime.errors import InputError
from sal_runtime.query.schema import NONE_STATE, normalise_word
from sal_train.datasets.text_files import read_text

RESERVED = ("image", "identity", "split")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Files that are a table if they are the only ones in a folder; a .json file must be named."""
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
BLANK_WORDS = frozenset(("", "-", "--", "?", ".", "nan", "na", "n/a", "n.a.", "#n/a", "<na>", "nat", "nil", "null"))
"""Cells, as `normalise_word` gives them, in which programs and people write that there is no value."""
UNKNOWN_PEOPLE = frozenset(("-1", "unknown", "unk"))
"""Cells in which data sets write that it is not known who a person is."""
DELIMITERS = (",", ";", "\t")
LEFT_OUT = "_"
"""A column whose name begins with this is no attribute."""
MAX_CELL_CHARACTERS = 2**31 - 1

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        path: the file.
        rows: line number and cells, as text by column, of each row. The columns of `RESERVED` have these names, and
            are "" where the cell is blank.
        columns: attribute columns: the name in the file by the normalised name. Those that `LEFT_OUT` marks are not
            among them.
    """

    path: Path
    rows: tuple[tuple[int, Row], ...]
    columns: Mapping[str, str]


def table_file(path: Path) -> Path:
    """The file `path`, or the only table of the folder `path`.

    Files whose names begin with `.` or `~` are passed over: operating systems and editors leave them behind.

    Raises:
        InputError: there is none, or more than one.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(
            f"{path}: no such data set; give market1501, peta, pa100k, street, a folder, or a table "
            f"({', '.join(TABLE_SUFFIXES)})"
        )
    tables = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in TABLE_SUFFIXES and not file.name.startswith((".", "~")) and file.is_file()
    )
    if len(tables) != 1:
        listed = ", ".join(file.name for file in tables) or "none"
        raise InputError(
            f"{path}: expected one table ({', '.join(TABLE_SUFFIXES)}) in this folder, found {listed}; name the file"
        )
    return tables[0]


def read_table(path: Path) -> Table:
    """Read the cells of a table.

    Raises:
        InputError: it is not a table, columns are missing or repeated, or a row has no image.
    """
    text = read_text(path)
    rows = _json_rows(path, text) if path.suffix.lower() in JSON_SUFFIXES else _csv_rows(path, text)
    if not rows:
        raise InputError(f"{path}: no rows; expected one per image")
    names = [name for name in dict.fromkeys(name for _, row in rows for name in row) if not name.startswith(LEFT_OUT)]
    words = [normalise_word(name) for name in names]
    if "image" not in words:
        raise InputError(f"{path}: no column `image`; the columns are {', '.join(names)}")
    if len(set(words)) != len(words):
        raise InputError(f"{path}: two column names differ only in case, blanks or underscores; rename one of them")
    columns = {word: name for word, name in zip(words, names, strict=True) if word not in RESERVED}
    if not columns:
        raise InputError(f"{path}: no attribute columns; the columns are {', '.join(names)}")
    reserved = {name: word for word, name in zip(words, names, strict=True) if word in RESERVED}
    table = Table(path, tuple((line, _with_reserved_names(row, reserved)) for line, row in rows), columns)
    without_image = [line for line, row in table.rows if not row.get("image")]
    if without_image:
        count = len(without_image)
        raise InputError(f"{path}, line {without_image[0]}: the cell `image` is empty ({count} such lines)")
    return table


def is_blank(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return normalise_word(cell) in BLANK_WORDS


def _with_reserved_names(row: Row, reserved: Mapping[str, str]) -> Row:
    for name, word in reserved.items():
        cell = row.pop(name, "")
        row[word] = "" if is_blank(cell) or normalise_word(cell) == NONE_STATE else cell
    if "identity" in row:
        row["identity"] = _identity(row["identity"])
    return row


def _identity(cell: str) -> str:
    """The person that a cell names: `7` for `7.0`, and "" where it says that nobody knows."""
    name = cell.partition(".")[0] if re.fullmatch(r"-?\d+\.0*", cell) else cell
    return "" if name.lower() in UNKNOWN_PEOPLE else name


def _csv_rows(path: Path, text: str) -> list[tuple[int, Row]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, text))
    try:
        header = [name.strip() for name in next((cells for cells in reader if any(cells)), [])]
        if len(set(header)) != len(header) or "" in header:
            raise InputError(
                f"{path}: the first line must name each column once; it is {','.join(header)!r} (a column that is not "
                f"an attribute may be called {LEFT_OUT}anything)"
            )
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}")
            rows.append((reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: cannot be read as CSV ({error})") from error
    return rows


def _delimiter(path: Path, text: str) -> str:
    """The delimiter with which the first line has a column `image`; else the one of the file's suffix."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    for delimiter in DELIMITERS:
        if "image" in {normalise_word(name.strip().strip('"')) for name in header.split(delimiter)}:
            return delimiter
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _json_rows(path: Path, text: str) -> list[tuple[int, Row]]:
    """Rows of JSON Lines, or of one array of objects; lines end at line feeds alone, as JSON texts may hold others."""
    if text.lstrip().startswith("["):
        entries = _json_value(path, 1, text)
        return [(number, _json_row(path, number, entry)) for number, entry in enumerate(entries, start=1)]
    return [
        (number, _json_row(path, number, _json_value(path, number, line)))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def _json_value(path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {line + error.lineno - 1}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {line}: cannot be read as JSON ({error})") from error


def _json_row(path: Path, line: int, entry: Any) -> Row:
    if not isinstance(entry, dict) or any(isinstance(value, list | dict) for value in entry.values()):
        raise InputError(f"{path}, line {line}: expected one flat object per line: {{'image': 'a.jpg', ...}}")
    return {str(name): _cell(value) for name, value in entry.items()}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value).strip()
