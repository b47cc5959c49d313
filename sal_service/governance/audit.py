"""The audit log: who did what, when and why, in lines that nobody can change unseen.

One JSON document a line, in canonical form (sorted keys, no blanks, ASCII). Each has a sequence number, the hash of the
line before (`prev`) and its own `hash`: SHA-256 of its other keys, or HMAC-SHA-256 where there is a key. Without a key,
whoever may write the file could write all of it anew; so keep the newest hash, the head, somewhere else now and then.

Nothing is ever overwritten, so the file system may allow appending only (`chattr +a`). A line that a killed process
left incomplete stays; the line after it, `log.cut`, says so. Its event was never acknowledged.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from sal_runtime.errors import InputError, SalError
from sal_runtime.files import sync_directory
from sal_service.governance.audit_line import (
    CUT,
    START,
    AuditLine,
    canonical,
    cut_found,
    parse_line,
    raw_backwards,
    seal,
)
from sal_service.governance.private import check_private


class AuditError(SalError):
    """The audit log cannot be trusted, or cannot be written: stop what would have to be logged."""


@dataclass
class _Entry:
    """What a thread wants to append, and what became of it."""

    who: str
    action: str
    why: str | None
    what: dict[str, Any]
    line: AuditLine | None = None
    error: BaseException | None = None


@dataclass(frozen=True)
class _End:
    """How a log ends: its size in bytes, its last line, and the incomplete bytes after that."""

    size: int
    sequence: int = 0
    head: str = START
    left: bytes = field(default=b"", repr=False)


class AuditLog:
    """The log, open for appending. Threads and processes may append at the same time.

    Args:
        path: of the file; it is made, for its owner only, where it is missing.
        key: secret of at least 32 bytes; None chains by plain hashes.

    Raises:
        AuditError: the last line was changed, the log was made with another key, or the file cannot be written.
        ConfigError: others may read the file.
    """

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        self.path = path.absolute()
        self._key = key
        self._pending: list[_Entry] = []
        self._pending_turn = threading.Lock()
        self._writing = threading.Lock()
        self._process = os.getpid()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditError(f"audit log {path}: cannot be opened ({error.strerror or error})") from error
        try:
            check_private(path, self._file)
            sync_directory(path.resolve().parent)
            with _locked(self._file):
                self._end = self._read_end()
        except BaseException:
            os.close(self._file)
            raise

    def append(self, who: str, action: str, why: str | None = None, what: Mapping[str, Any] | None = None) -> AuditLine:
        """Append one line; it is on the disk when this returns. Threads that append at once share one write.

        Args:
            who: name of the token or of the part of the service that acts.
            action: what is done, such as `search` or `watch.create`.
            why: the stated reason.
            what: details that JSON can hold.

        Raises:
            AuditError: the line could not be written, or the log cannot be continued.
            TypeError: JSON cannot hold `what`.
            ValueError: `what` holds a number that is not finite.
        """
        entry = _Entry(who, action, why, json.loads(json.dumps(dict(what or {}), allow_nan=False)))
        with self._pending_turn:
            self._pending.append(entry)
        with self._writing:  # who comes first writes for all who wait by then
            if entry.line is None and entry.error is None:
                with self._pending_turn:
                    batch, self._pending = self._pending, []
                self._commit(batch)
        if entry.error is not None:
            raise entry.error
        assert entry.line is not None
        return entry.line

    @property
    def head(self) -> str:
        """Hash of the last line, `START` in an empty log."""
        return self._current().head

    @property
    def sequence(self) -> int:
        """Number of the last line, 0 in an empty log."""
        return self._current().sequence

    def close(self) -> None:
        """Close the file; nothing can be appended any more."""
        with self._writing:
            os.close(self._file)
            self._file = -1  # the number may soon belong to another file

    def _current(self) -> _End:
        with self._writing, _locked(self._file):
            if os.fstat(self._file).st_size != self._end.size:
                self._end = self._read_end()
            return self._end

    def _commit(self, batch: Sequence[_Entry]) -> None:
        """Write lines for all entries, or give all of them the error."""
        try:
            if self._file < 0:
                raise AuditError(f"audit log {self.path}: is closed; open it again")
            if os.getpid() != self._process:
                raise AuditError(f"audit log {self.path}: was opened by the parent process; open it again in this one")
            with _locked(self._file):
                self._check_in_place()
                if os.fstat(self._file).st_size != self._end.size:  # another process wrote, or a write of ours failed
                    self._end = self._read_end()
                lines = self._write(batch)
        except BaseException as error:
            for entry in batch:
                entry.error = error
            if not isinstance(error, Exception):
                raise
        else:
            for entry, line in zip(batch, lines, strict=True):
                entry.line = line

    def _write(self, batch: Sequence[_Entry]) -> list[AuditLine]:
        left, entries = self._end.left, list(batch)
        closing = b"\n" if left and not left.endswith(b"\n") else b""
        if left:
            entries.insert(
                0, _Entry("log", CUT, "a writer was killed in the middle of a line", cut_found(left + closing))
            )
        lines: list[AuditLine] = []
        prev = self._end.head
        for number, entry in enumerate(entries, self._end.sequence + 1):
            at = round(time.time(), 6)
            line = AuditLine(number, at, entry.who, entry.action, entry.why, entry.what, prev, "")
            prev = seal(line.to_json(), self._key)
            lines.append(replace(line, hash=prev))
        data = closing + b"".join(canonical(line.to_json()) + b"\n" for line in lines)
        try:
            _write_all(self._file, data)
            os.fsync(self._file)
        except OSError as error:
            self._end = _End(-1)  # nobody knows what is there now
            raise AuditError(f"audit log {self.path}: cannot be written ({error.strerror or error})") from error
        self._end = _End(os.fstat(self._file).st_size, lines[-1].sequence, prev)
        return lines[len(lines) - len(batch) :]

    def _check_in_place(self) -> None:
        mine = os.fstat(self._file)
        try:
            there = os.stat(self.path)
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            raise AuditError(f"audit log {self.path}: was moved or replaced while it was open; open it again")

    def _read_end(self) -> _End:
        """How the file ends; a whole last line without its line break is not incomplete, but only gets its break.

        Raises:
            AuditError: the last line was changed, or made with another key.
        """
        size, left = os.fstat(self._file).st_size, b""
        for raw in raw_backwards(self._file):
            document = parse_line(raw.removesuffix(b"\n"))
            if document is None:
                left = raw + left
                continue
            if document["hash"] != seal(document, self._key):
                raise AuditError(
                    f"audit log {self.path}: its last line was changed, or was made with another key; "
                    "keep the file, find out what happened to it, and begin a new one elsewhere"
                )
            if not raw.endswith(b"\n"):
                _write_all(self._file, b"\n")
                size += 1
            return _End(size, document["sequence"], document["hash"], left)
        return _End(size, left=left)


@dataclass(frozen=True)
class AuditReport:
    """What `verify_log` found.

    Attributes:
        lines: number of lines that are in order, up to the first that is not.
        head: hash of the last of them.
        cut: number of places where a killed writer left an incomplete line that the log itself reports.
        unfinished: whether the log ends in an incomplete line: a writer was killed, or is just writing.
        problem: the first thing that is wrong; None if nothing is.
    """

    lines: int
    head: str
    cut: int
    unfinished: bool
    problem: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


def verify_log(path: Path, expect: str | None = None, key: bytes | None = None) -> AuditReport:
    """Check that no line of a log was changed, removed, inserted or moved.

    Args:
        path: of the log.
        expect: a head that was noted earlier. It must still be in the log: without it, nobody can see that lines were
            removed at the end.
        key: with which the log was made, if any.

    Raises:
        InputError: the file cannot be read, or `expect` is no hash.
    """
    if expect is not None and (len(expect) != len(START) or set(expect) - set("0123456789abcdef")):
        raise InputError(f"got the head {expect!r}, expected {len(START)} hexadecimal digits", parameter="expect")
    count, head, cut, left = 0, START, 0, b""
    seen, problem = expect in (None, START), None
    with _opened(path) as file:
        for number, raw in enumerate(file, 1):
            document = parse_line(raw.removesuffix(b"\n"))
            if document is None:
                left += raw
                continue
            problem = _fault(document, count + 1, head, left, key)
            if problem is not None:
                problem = f"line {number}: {problem}"
                break
            count, head, cut, left = count + 1, document["hash"], cut + bool(left), b""
            seen = seen or head == expect
    if problem is None and left.endswith(b"\n"):
        problem = f"line {number}: is no line of an audit log; it was changed or inserted"
    if problem is None and not seen:
        problem = f"ends with line {count} without the expected head; lines were removed, or it is another log"
    return AuditReport(count, head, cut, bool(left) and problem is None, problem)


def _fault(document: Mapping[str, Any], sequence: int, head: str, left: bytes, key: bytes | None) -> str | None:
    """Why a line cannot follow the lines before it and the incomplete bytes `left`; None if it can."""
    if document["hash"] != seal(document, key):
        hint = "" if key else " (or the log was made with a key, which was not given)"
        return f"was changed: its hash does not fit{hint}"
    if document["sequence"] != sequence:
        return f"has the number {document['sequence']}, expected {sequence}; lines were removed, inserted or moved"
    if document["prev"] != head:
        return "does not follow the line before it; lines were exchanged"
    if left and (document["action"] != CUT or document["what"] != cut_found(left)):
        return "follows something that is no line of an audit log; it was changed or inserted"
    return None


def lines_backwards(path: Path, before: int | None = None) -> Iterator[AuditLine]:
    """The lines of a log, newest first; what is no line is passed over, and nothing is verified.

    Args:
        path: of the log.
        before: only lines with smaller numbers.

    Raises:
        InputError: the file cannot be read.
    """
    return (line for line in _lines(_opened(path), backwards=True) if before is None or line.sequence < before)


def lines_forwards(path: Path) -> Iterator[AuditLine]:
    """The lines of a log, oldest first; what is no line is passed over, and nothing is verified.

    Raises:
        InputError: the file cannot be read.
    """
    return _lines(_opened(path), backwards=False)


def _lines(file: BinaryIO, *, backwards: bool) -> Iterator[AuditLine]:
    with file:
        for raw in raw_backwards(file.fileno()) if backwards else file:
            document = parse_line(raw.removesuffix(b"\n"))
            if document is not None:
                yield AuditLine.from_json(document)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"audit log {path}: cannot be read ({error.strerror or error})") from error


def read_lines(path: Path, before: int | None = None, limit: int = 100) -> list[AuditLine]:
    """Up to `limit` lines, newest first; as `lines_backwards`."""
    return [line for line, _ in zip(lines_backwards(path, before), range(limit), strict=False)]


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Keep other processes from appending meanwhile."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
