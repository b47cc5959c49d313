"""What gpu_checks found, on the disk after every part: a command that is cut off leaves what it had."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Record:
    """A JSON document of named parts.

    Attributes:
        parts: what was found, by the name of the part; of one that failed, why.
        failed: names of the parts that failed, in order.

    Args:
        path: of the file; written by the first part that ends.
        head: what stands before the parts.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.parts: dict[str, Any] = {}
        self.failed: list[str] = []
        self._path = path
        self._head = head
        self._seconds: dict[str, float] = {}

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """Do one part.

        Returns:
            What `work` returned, for JSON; None if it failed, which stops nothing else.
        """
        print(name, file=sys.stderr)
        started = time.perf_counter()
        found = None
        try:
            found = self.parts[name] = work()
        except Exception as error:  # whatever it is, it belongs into the record
            self.parts[name] = {"failed": f"{type(error).__name__}: {error}"}
            self.failed.append(name)
        self._seconds[name] = round(time.perf_counter() - started, 2)
        self.write(finished=False)
        return found

    def leave_out(self, name: str, reason: object) -> None:
        """Note a part that cannot be had here, which is no failure."""
        self.parts[name] = f"left out: {reason}"

    def write(self, finished: bool) -> None:
        """Write the file whole, in place of the one that was there."""
        end = {"failed": self.failed, "finished": finished}
        document = {**self._head, **self.parts, "seconds": self._seconds, **end}
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._path)
