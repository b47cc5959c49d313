"""The form of the audit log: one JSON document a line, each chained by its hash to the line before."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

START = "0" * 64
"""The head of an empty log, to which its first line is chained."""
CUT = "log.cut"
"""The action of a line that says what a killed process left before it."""
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("action", "at", "hash", "prev", "who"), str),
    "sequence": int,
    "what": dict,
    "why": str | None,
}
"""The keys of a line and the types of their values."""
BLOCK = 1 << 16


@dataclass(frozen=True)
class AuditLine:
    """One line of the log.

    Attributes:
        sequence: 1 for the first line.
        at: seconds since 1970, UTC.
        who: name of the token or of the part of the service that acted.
        action: what was done, such as `search` or `watch.create`.
        why: the reason that was stated, if any.
        what: details of the action, as JSON.
        prev: hash of the line before.
        hash: of this line.
    """

    sequence: int
    at: float
    who: str
    action: str
    why: str | None
    what: Mapping[str, Any]
    prev: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        """The line as it is in the file."""
        return {**vars(self), "at": moment_from_seconds(self.at)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> AuditLine:
        """The line of a document that `parse_line` accepts."""
        return AuditLine(**{**document, "at": datetime.fromisoformat(document["at"]).timestamp()})


def moment_from_seconds(seconds: float) -> str:
    """A moment in UTC to the microsecond, as the log has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def canonical(document: Mapping[str, Any]) -> bytes:
    """A document in the only form that the log takes: sorted keys, no blanks, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def seal(document: Mapping[str, Any], key: bytes | None) -> str:
    """The hash of a line, over all of it but its hash: SHA-256, or HMAC-SHA-256 with a key."""
    content = canonical({name: value for name, value in document.items() if name != "hash"})
    return hashlib.sha256(content).hexdigest() if key is None else hmac.digest(key, content, "sha256").hex()


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """The document of a line without its line break; None if it is none, or is not in canonical form."""
    try:
        document = json.loads(raw)
        if not isinstance(document, dict) or document.keys() != KINDS.keys() or canonical(document) != raw:
            return None
        datetime.fromisoformat(document["at"])
    except (ValueError, TypeError, RecursionError):
        return None
    return document if all(isinstance(document[name], kind) for name, kind in KINDS.items()) else None


def cut_found(left: bytes) -> dict[str, Any]:
    """What the line `CUT` says of the incomplete bytes before it."""
    return {"bytes": len(left), "sha256": hashlib.sha256(left).hexdigest()}


def raw_backwards(descriptor: int) -> Iterator[bytes]:
    """The lines of an open file with their line breaks, last first; the last may have none."""
    position, rest = os.fstat(descriptor).st_size, b""
    while position:
        start = max(0, position - BLOCK)
        rest = os.pread(descriptor, position - start, start) + rest
        position = start
        first, *others = rest.split(b"\n")
        whole = [part + b"\n" for part in (first, *others[:-1])] + others[-1:] if others else [first]
        rest = b"" if position == 0 else whole.pop(0)
        yield from (raw for raw in reversed(whole) if raw)
