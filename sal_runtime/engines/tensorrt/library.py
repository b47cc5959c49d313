"""Finds TensorRT or TensorRT-RTX and keeps its messages; the only file that imports either.

Both have the same Python interface. TensorRT builds for the GPU it runs on. TensorRT-RTX also builds for other GPUs, so
it works on a machine without one.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from sal_runtime.errors import BackendError, install

Kind = Literal["tensorrt", "tensorrt_rtx"]

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
OLDEST = (10, 12)
"""First TensorRT whose strongly typed networks sal can build."""
KEPT_MESSAGES = 200
FREE = -1  # length of an axis that is not fixed, in both libraries

_logger = logging.getLogger(__name__)


class MessageLog:
    """Logger of a library: warnings go to `logging`, errors are kept so that an exception can quote them.

    TensorRT accepts one logger per process, so there is one instance for each library.
    """

    def __init__(self, module: ModuleType) -> None:
        severity = module.ILogger.Severity
        errors = (severity.INTERNAL_ERROR, severity.ERROR)
        self._errors: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self._notes: deque[str] = deque(maxlen=KEPT_MESSAGES)

        class Logger(module.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(_, level: Any, message: str) -> None:  # noqa: N805  (self is the MessageLog)
                if level in errors:
                    self._errors.append(message.strip())
                    return
                self._notes.append(message)
                _logger.log(logging.WARNING if level == severity.WARNING else logging.DEBUG, "%s", message)

        self.logger = Logger()

    def clear(self) -> None:
        """Forget all messages; call it before new work."""
        self._errors.clear()
        self._notes.clear()

    def errors(self) -> str:
        """The errors since `clear`, in one line."""
        return "; ".join(" ".join(message.split()) for message in self._errors) or "it gave no reason"

    def find(self, beginning: str) -> str | None:
        """Rest of the latest non-error message with this beginning, or None."""
        for message in reversed(self._notes):
            if message.startswith(beginning):
                return message.removeprefix(beginning).strip()
        return None


@dataclass(frozen=True)
class TensorRT:
    """The installed library.

    Attributes:
        module: `tensorrt` or `tensorrt_rtx`.
        kind: the module's name.
        version: full build version, for example `11.4.0.106`; an engine runs on exactly one version.
        log: messages of the library.
    """

    module: Any
    kind: Kind
    version: str
    log: MessageLog

    @property
    def title(self) -> str:
        """Name and version, for messages."""
        return f"{TITLES[self.kind]} {self.version}"


def find_tensorrt() -> TensorRT:
    """Import TensorRT if it is installed, else TensorRT-RTX.

    Raises:
        BackendError: neither is installed, the installed one does not load, or TensorRT is older than `OLDEST`.
    """
    kind, module = _import_library()
    version = str(module.__version__)
    if kind == "tensorrt" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise BackendError(
            f"TensorRT {version} is too old: sal builds strongly typed networks as 10.12 and later have them; "
            f"{install('trt')}"
        )
    return TensorRT(module, kind, version, _message_log(module))


@functools.cache
def _message_log(module: ModuleType) -> MessageLog:
    return MessageLog(module)


def _import_library() -> tuple[Kind, ModuleType]:
    try:
        import tensorrt

        return "tensorrt", tensorrt
    except (ImportError, OSError) as error:
        _refuse_broken("tensorrt", error)
    try:
        import tensorrt_rtx

        return "tensorrt_rtx", tensorrt_rtx
    except (ImportError, OSError) as error:
        _refuse_broken("tensorrt_rtx", error)
    raise BackendError(
        f"TensorRT is not installed; on an RTX GPU: `pip install tensorrt-rtx`; on others {install('trt')}"
    )


def _refuse_broken(name: str, error: Exception) -> None:
    """Raise if a library is installed but unusable; falling back to the other one would hide that."""
    if not (isinstance(error, ModuleNotFoundError) and error.name == name):
        raise BackendError(f"{name} is installed but does not load: {error}") from error
