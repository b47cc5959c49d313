"""What a running service says of itself, asked with nothing but Python, and what to do about it."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from sal_runtime.errors import ConfigError, InputError
from sal_runtime.version import __version__

TIMEOUT_SECONDS = 10
LONGEST_ANSWER = 1_000_000
START = "start it with `sal serve`, or look at `systemctl status sal` and `journalctl --unit sal`"
REFUSALS = {
    401: "the token is unknown or has expired; make a new one with `sal token add NAME --role search`",
    403: "the token has no role for this, or the service does not serve this name; see --host-name of `sal serve`",
    404: "no service of sal answers there; name the address that `sal serve` prints",
    429: "too many requests; wait a minute",
    502: f"a proxy answers, and not the service behind it; {START}",
    504: f"a proxy answers, and not the service behind it; {START}",
}
"""What to do about answers that are refusals."""
ADVICE = (
    (r"disk|space|full", "make room; what was submitted waits and is tried again"),
    (
        r"camera|frame|stream",
        "see that the camera answers from the service's machine; the service tries again by itself",
    ),
    (r"audit", "stop the service, and look with `sal audit verify LOG`"),
    (r"galler|damaged", "look with `sal gallery verify`; a backup is brought back by `sal gallery restore`"),
    (r"cuda|gpu|device", "look at the machine with `sal doctor --device auto`"),
)
"""Words of a problem, and what to do about it."""


@dataclass(frozen=True)
class ServiceReport:
    """What was found of a service.

    Attributes:
        url: its address.
        reached: whether a service of sal answered.
        ready: whether it can do its work.
        problems: what is wrong, and what to do, a line each.
        notes: what else is to be known.
        version: of the service; empty where it did not tell.
        uptime_seconds: since its start; None where it did not tell.
        devices: (part, device, precision) of each of its parts; precision is None for a part without one.
    """

    url: str
    reached: bool
    ready: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    version: str
    uptime_seconds: float | None
    devices: tuple[tuple[str, str, str | None], ...]

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        parts = [{"part": part, "device": device, "precision": precision} for part, device, precision in self.devices]
        return asdict(self) | {"devices": parts}


class _NoAnswerError(Exception):
    """Why there is no answer, in words for people."""


class _NoRedirect(HTTPRedirectHandler):
    """A token is sent to the address that was named, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def examine_service(url: str, token: str | None = None) -> ServiceReport:
    """Ask a service whether it is ready and, with a token of any role, on which devices it runs.

    Args:
        url: address of the service, such as `http://127.0.0.1:8377`.
        token: as `sal token add` printed it.

    Raises:
        ConfigError: the address is none, or the token would be sent without encryption.
    """
    base = _checked(url, token)
    try:
        is_well, told = _ask(f"{base}/readyz", None)
        is_ready = is_well and bool(told["ready"])
    except _NoAnswerError as failure:
        return ServiceReport(base, False, False, (str(failure),), (), "", None, ())
    except KeyError:
        return ServiceReport(base, False, False, (f"it answered, but {REFUSALS[404]}",), (), "", None, ())
    version, uptime, devices, problems, notes = "", None, [], list[str](), list[str]()
    try:
        _, health = _ask(f"{base}/v1/health", token)
        version, uptime = str(health["version"]), float(health["uptime_seconds"])
        devices = [(str(one["part"]), str(one["device"]), one["precision"]) for one in health["devices"]]
        is_ready, problems = is_ready and bool(health["ready"]), [str(problem) for problem in health["problems"]]
    except _NoAnswerError as failure:
        notes.append(f"its state is not known: {failure}")
    except (KeyError, TypeError, ValueError):
        problems.append(
            "it tells its state in a form that this version of sal does not know; use the service's version"
        )
    if version and version != __version__:
        notes.append(f"the service is sal {version}, and this is sal {__version__}; restart it after an upgrade")
    advised = tuple(map(_with_advice, problems))
    return ServiceReport(base, True, is_ready, advised, tuple(notes), version, uptime, tuple(devices))


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        InputError: there is none, or others may read the file.
    """
    try:
        token, mode = path.read_text(encoding="utf-8").strip(), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if mode & 0o077:
        raise InputError(f"{path}: others may read it; type `chmod 600 {path}`")
    if not re.fullmatch(r"[!-~]{1,200}", token):
        raise InputError(f"{path}: holds no token; write into it what `sal token add` printed, and nothing else")
    return token


def _checked(url: str, token: str | None) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        raise ConfigError(f"the service {url!r}: expected an address such as http://127.0.0.1:8377")
    if token is not None and parts.scheme == "http" and not _is_loopback(host):
        raise ConfigError(f"the service {url}: the token would be sent without encryption; use https://")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ask(url: str, token: str | None) -> tuple[bool, Mapping[str, Any]]:
    """Whether an answer says that all is well, and the JSON object that it holds."""
    headers = {"Accept": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=ssl.create_default_context()), _NoRedirect)
    try:
        with opener.open(Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
            return True, _object(answer.read(LONGEST_ANSWER))
    except HTTPError as error:
        with error:
            if error.code == 503:
                return False, _object(error.read(LONGEST_ANSWER))
            place = error.headers.get("Location", "")
        if 300 <= error.code < 400:
            raise _NoAnswerError(f"it sends on to {place}; name that address") from None
        if error.code == 401 and token is None:
            raise _NoAnswerError("it asks for a token; name a file that holds one with --token-file") from None
        raise _NoAnswerError(
            REFUSALS.get(error.code, f"it answered with status {error.code}; look at its log")
        ) from None
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _NoAnswerError(
                f"its certificate is not trusted ({reason.verify_message}); name that of its authority: "
                "`SSL_CERT_FILE=ca.pem sal doctor ...`"
            ) from None
        raise _NoAnswerError(f"it cannot be reached ({getattr(reason, 'strerror', None) or reason}); {START}") from None


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _NoAnswerError(f"it answered, but {REFUSALS[404]}")
    return found


def _with_advice(problem: str) -> str:
    """A problem, with what to do unless it says so itself."""
    if ";" in problem:
        return problem
    advice = next((text for words, text in ADVICE if re.search(words, problem, re.IGNORECASE)), None)
    return f"{problem}; {advice or 'see docs/service.md'}"
