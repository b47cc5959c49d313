"""The results of gpu_checks, written after every part so that an interrupted run keeps them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sal_runtime.files import whole_file


class Record:
    """A JSON document of named parts.

    Attributes:
        parts: the result of each part by its name, or why it failed.
        failed: names of the parts that failed, in order.

    Args:
        path: the file; the first part that ends writes it.
        head: entries before the parts.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        self.parts: dict[str, Any] = {}
        self.failed: list[str] = []
        self._path = path
        self._head = head
        self._seconds: dict[str, float] = {}

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one part; a failure is recorded and does not stop the other parts.

        Returns:
            The JSON value that `work` returned; None if it failed.
        """
        print(name, file=sys.stderr)
        started = time.perf_counter()
        found = None
        try:
            found = self.parts[name] = work()
        except Exception as error:  # any failure belongs in the record
            self.parts[name] = {"failed": f"{type(error).__name__}: {error}"}
            self.failed.append(name)
        self._seconds[name] = round(time.perf_counter() - started, 2)
        self.write(finished=False)
        return found

    def leave_out(self, name: str, reason: object) -> None:
        """Record why a part is missing on this machine; that is not a failure."""
        self.parts[name] = f"left out: {reason}"

    def write(self, finished: bool) -> None:
        """Write the whole document in place of an earlier one."""
        end = {"failed": self.failed, "finished": finished}
        document = {**self._head, **self.parts, "seconds": self._seconds, **end}
        with whole_file(self._path) as file:
            file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
