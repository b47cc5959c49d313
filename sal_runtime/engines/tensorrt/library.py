"""Finding TensorRT or TensorRT-RTX, and keeping what it says: the only file that imports either.

Both have the same Python interface. TensorRT builds for the GPU it runs on; TensorRT-RTX also builds for GPUs that are
elsewhere, so it builds on a machine without one.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from sal_runtime.errors import BackendError

Kind = Literal["tensorrt", "tensorrt_rtx"]

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
OLDEST = (10, 12)
KEPT_MESSAGES = 200

_logger = logging.getLogger(__name__)


class MessageLog:
    """The library's logger: warnings go to `logging`, errors wait for `errors()` to put them into an exception's text.

    TensorRT takes one logger for a whole process, hence one instance for each library.
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
        """Forget what was said before the work that comes now."""
        self._errors.clear()
        self._notes.clear()

    def errors(self) -> str:
        """The errors since `clear`, in one line."""
        return "; ".join(" ".join(message.split()) for message in self._errors) or "it gave no reason"

    def find(self, beginning: str) -> str | None:
        """The rest of the latest information that begins so, or None."""
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
        version: the full build version, such as 11.4.0.106: engines are good for exactly one.
        log: its messages.
    """

    module: Any
    kind: Kind
    version: str
    log: MessageLog

    @property
    def title(self) -> str:
        """Name and version for messages."""
        return f"{TITLES[self.kind]} {self.version}"


def find_tensorrt() -> TensorRT:
    """TensorRT where it is installed, else TensorRT-RTX.

    Raises:
        BackendError: neither is installed, the one that is does not load, or TensorRT is older than 10.12.
    """
    kind, module = _import_library()
    version = str(module.__version__)
    if kind == "tensorrt" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise BackendError(
            f"TensorRT {version} is too old: sal builds strongly typed networks as 10.12 and later have them; "
            'pip install --upgrade "sal-person-search[trt]"'
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
        'TensorRT is not installed; pip install "sal-person-search[trt]", or pip install tensorrt-rtx on an RTX GPU'
    )


def _refuse_broken(name: str, error: Exception) -> None:
    """Installed but unusable is an error of its own: the other library would only hide it."""
    if not (isinstance(error, ModuleNotFoundError) and error.name == name):
        raise BackendError(f"{name} is installed but does not load: {error}") from error
