"""Addresses of cameras: which are allowed, how they are shown, and why one gives no video."""

from __future__ import annotations

import os
import re
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from sal_runtime.errors import InputError
from sal_service.video.sources.settings import SourceSettings

PROTOCOLS = ("rtsp", "rtsps")
ANSWER_SECONDS = 2.0
PORTS = {"rtsp": 554, "rtsps": 322}
_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+._-]+)(?:,[^:]*)?:")
_ACCOUNT = re.compile(r"(?<=://)([^/@:]*)(:?).*@", re.DOTALL)
_SECRET = re.compile(r"\b((?:password|passwd|passwort|pass|pwd|psw|token|secret|key|auth)=)[^&;/?\s]+", re.IGNORECASE)
_STATUS = re.compile(rb"RTSP/1\.\d (\d{3}) ?([^\r\n]*)")
_ANSWER_BYTES = 4096
_SYSTEM_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def protocol_of(place: str) -> str | None:
    """The protocol that a place begins with, as FFmpeg would read it; None for a path."""
    found = _PROTOCOL.match(place)
    return found[1].lower() if found else None


def hide_passwords(text: str) -> str:
    """A text without the passwords of the address in it: `rtsp://admin:***@10.0.0.7/1`.

    Values of parameters such as `password=` are hidden, too. Rather too much than too little is hidden.
    """
    return _SECRET.sub(r"\1***", _ACCOUNT.sub(lambda found: f"{found[1]}{':***' if found[2] else ''}@", text))


def check_address(address: str) -> None:
    """Refuse an address that is not one of a camera.

    Raises:
        InputError: the protocol is not allowed, or the address has no host, or no valid port.
    """
    protocol = protocol_of(address)
    if protocol not in PROTOCOLS:
        raise InputError(
            f"{hide_passwords(address)}: {protocol}: is not allowed, a camera's address begins with rtsp:// or "
            "rtsps://; a file with a colon in its name is written ./NAME"
        )
    try:
        parts = urlsplit(address)
        is_whole = bool(address.isprintable() and " " not in address and parts.hostname and port_of(parts))
    except ValueError:
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{hide_passwords(address)}: expected rtsp://HOST:PORT/PATH or rtsp://USER:PASSWORD@HOST:PORT/PATH; "
            "write /, #, ? and @ of a password as %2F, %23, %3F and %40"
        )


def port_of(parts: SplitResult) -> int:
    """The port of an address."""
    return parts.port or PORTS[parts.scheme]


def why_no_answer(address: str, settings: SourceSettings) -> str:
    """Why a camera does not answer, in words; empty if it does. Takes about `ANSWER_SECONDS` at most."""
    reason, answer = _ask(address, "OPTIONS", settings)
    return reason or ("" if _STATUS.match(answer) else _meaning(answer, address))


def why_no_video(address: str, settings: SourceSettings) -> str:
    """Why a camera gave no video, in words, where the library says only that there is none; asks the camera once."""
    reason, answer = _ask(address, "DESCRIBE", settings)
    return reason or _meaning(answer, address)


def _ask(address: str, method: str, settings: SourceSettings) -> tuple[str, bytes]:
    """Why there is no answer, or the answer."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", port_of(parts)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    place = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
    try:
        with (
            socket.create_connection((host, port), timeout=ANSWER_SECONDS) as plain,
            _secured(plain, parts, settings) as line,
        ):
            line.sendall(f"{method} {place} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode())
            return "", line.recv(_ANSWER_BYTES)
    except ConnectionRefusedError:
        return f"nobody listens at port {port} of {host}", b""
    except TimeoutError:
        return "it does not answer", b""
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted ({error.verify_message})", b""
    except OSError as error:
        return error.strerror or str(error), b""


def _secured(plain: socket.socket, parts: SplitResult, settings: SourceSettings) -> socket.socket:
    if parts.scheme == "rtsp":
        return plain
    context = ssl.create_default_context(cafile=settings.tls_authorities or system_authorities())
    if not settings.tls_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=parts.hostname)


def system_authorities() -> Path | None:
    """The file of certificates that this system trusts, if there is one."""
    candidates = (ssl.get_default_verify_paths().cafile, *_SYSTEM_AUTHORITIES)
    return next((Path(path) for path in candidates if path and os.path.isfile(path)), None)


def _meaning(answer: bytes, address: str) -> str:
    if not answer:
        return "it closed the connection"
    status = _STATUS.match(answer)
    if status is None:
        return "what answers there does not speak RTSP"
    code, words = int(status[1]), status[2].decode("ascii", "backslashreplace")[:60]
    if code == 401:
        return (
            "it refuses the user or the password" if urlsplit(address).password else "it asks for a user and a password"
        )
    if code == 200:
        return "it answers, but no picture of its video can be decoded"
    return f"it answers {code} {words}" + ("; check the path" if code == 404 else "")
