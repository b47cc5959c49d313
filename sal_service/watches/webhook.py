"""Posts messages to addresses that an operator listed, and to nothing else.

An address is taken from a watch, so it is somebody's input: a service inside a network must not be made to talk to
other services there. The host must be listed, it is resolved once, and the connection goes to the address that was
looked at.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sal_runtime.errors import ConfigError
from sal_service.watches.watch import RefusedError, UndeliveredError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = {"http": 80, "https": 443}
LONGEST_URL = 2000
LONGEST_LABEL = 63
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(/[!-~]*|\?[!-~]*)?")
_ENTRY = re.compile(r"(http://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "168.63.129.16/32",  # metadata of Azure
        "100.100.100.200/32",  # metadata of Alibaba
        "192.0.0.0/24",  # metadata of Oracle
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "64:ff9b:1::/48",
        "fe80::/10",
        "fd00:ec2::/32",  # metadata of Amazon
        "fd20:ce::/32",  # metadata of Google
        "ff00::/8",
    )
)
"""What is not connected to even if it is listed."""
EMBEDDING = tuple(
    (ipaddress.ip_network(text), shift)
    for text, shift in (("::ffff:0:0/96", 0), ("::/96", 0), ("64:ff9b::/96", 0), ("2002::/16", 80))
)
"""IPv6 networks whose addresses stand for IPv4 addresses, and how many bits are behind those."""


@dataclass(frozen=True)
class Endpoint:
    """What a URL leads to, as text."""

    scheme: str
    host: str
    port: int
    path: str


class Webhooks:
    """Posts to listed hosts. Safe to use from many threads.

    Args:
        hosts: the list: `alerts.example.org` (port 443), `alerts.example.org:8443`, `10.0.0.5:8443`, `[fd00::5]:8443`.
            With `http://` in front, messages go there in the clear, too; loopback addresses need no `http://`. An
            address that is not public must be on the list itself, as a number, also where a listed name leads to it.
        seconds: longest time for a delivery, from the connection to the answer.
        ca_file: certificates that https is trusted with; None takes the system's.

    Raises:
        ConfigError: an entry of the list is none, or the certificates cannot be read.
    """

    def __init__(self, hosts: Sequence[str], seconds: float, ca_file: Path | None = None) -> None:
        self._seconds = seconds
        self._listed = {place for entry in hosts for place in _listed_places(entry)}
        self._addresses = {(address, port) for _, host, port in self._listed if (address := _literal(host)) is not None}
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigError(f"{ca_file}: cannot be read as certificates ({error})", parameter="ca_file") from error
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    def check(self, url: str) -> Endpoint:
        """What a URL leads to, if messages may go there. Nothing is looked up.

        Raises:
            RefusedError: they may not.
        """
        found = _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
        port = int(found[3] or PORTS[found[1]]) if found else 0
        if found is None or not 0 < port < 1 << 16:
            raise RefusedError(
                f"got a webhook that cannot be read, expected https://HOST/PATH or https://HOST:PORT/PATH of at most "
                f"{LONGEST_URL} ASCII characters, without a user, a password or a fragment",
                parameter="deliver",
            )
        endpoint = Endpoint(found[1], _host(found[2]), port, found[4] or "/")
        if "#" in endpoint.path or (endpoint.scheme, endpoint.host, endpoint.port) not in self._listed:
            raise RefusedError(
                f"got a webhook on {endpoint.scheme}://{found[2]}:{port}, expected a host of the policy's list; ask "
                "whoever keeps the policy to list it",
                parameter="deliver",
            )
        if not endpoint.path.startswith("/"):
            endpoint = Endpoint(endpoint.scheme, endpoint.host, port, f"/{endpoint.path}")
        return endpoint

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a body; returns when the other side answered with a status of 200 to 299.

        Raises:
            RefusedError: messages may not go there.
            UndeliveredError: it did not arrive, or the answer was another one.
        """
        endpoint = self.check(url)
        try:
            with self._connected(endpoint, self._resolve(endpoint)) as connection:
                connection.request("POST", endpoint.path, body, dict(headers))
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise UndeliveredError(f"{endpoint.host}:{endpoint.port}: {reason[:200]!r}") from error
        if not 200 <= status < 300:
            what = "answered with a redirect, which is not followed" if 300 <= status < 400 else "did not accept it"
            raise UndeliveredError(f"{endpoint.host}:{endpoint.port}: {what} (status {status})", answered=True)

    def _resolve(self, endpoint: Endpoint) -> list[str]:
        """The addresses of a host, all of which may be connected to."""
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        texts = list(dict.fromkeys(str(address[0]) for *_, address in found))
        for text in texts:
            if not self._may_connect(ipaddress.ip_address(text), endpoint.port):
                raise UndeliveredError(
                    f"{endpoint.host}:{endpoint.port}: leads to {text}, which is not connected to; list the address "
                    "itself if it is meant"
                )
        return texts

    def _may_connect(self, address: Address, port: int) -> bool:
        every = [address, *_embedded(address)]
        if any(one in network for one in every for network in NEVER):
            return False
        return (address, port) in self._addresses or all(one.is_global for one in every)

    @contextmanager
    def _connected(self, endpoint: Endpoint, addresses: Sequence[str]) -> Iterator[http.client.HTTPConnection]:
        """A connection that is cut when the time is over, however slowly the other side goes on."""
        end = time.monotonic() + self._seconds
        raw = _first_connection(addresses, endpoint.port, self._seconds)
        raw.settimeout(2 * self._seconds)  # the timer is first
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
        with raw, raw.dup() as spare, closing(connection):  # TLS takes the first one over
            is_over = threading.Event()
            timer = threading.Timer(max(0.0, end - time.monotonic()), _cut, [spare, is_over])
            timer.daemon = True
            timer.start()
            try:
                connection.sock = raw
                if endpoint.scheme == "https":
                    connection.sock = self._tls.wrap_socket(raw, server_hostname=endpoint.host)
                yield connection
            except (OSError, http.client.HTTPException):
                if not is_over.is_set():
                    raise
            finally:
                timer.cancel()
            if is_over.is_set():  # half of an answer is none
                raise TimeoutError(f"did not answer within {self._seconds:g} seconds")


def _first_connection(addresses: Sequence[str], port: int, seconds: float) -> socket.socket:
    """A connection to the first of some numeric addresses that answers."""
    problem: OSError = OSError("has no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=seconds / len(addresses))
        except OSError as error:
            problem = error
    raise problem


def _cut(connection: socket.socket, is_over: threading.Event) -> None:
    is_over.set()
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _listed_places(entry: str) -> list[tuple[str, str, int]]:
    """Scheme, host and port that an entry of the list allows."""
    found = _ENTRY.fullmatch(entry)
    port = int(found[3]) if found and found[3] else None
    if found is None or not _is_host(_host(found[2])) or not (port is None or 0 < port < 1 << 16):
        raise ConfigError(
            f"got {entry!r} in the list of webhooks, expected a host such as alerts.example.org, "
            "alerts.example.org:8443, 10.0.0.5:8443 or [fd00::5]:8443, with http:// in front where messages may go in "
            "the clear",
            parameter="webhooks",
        )
    host = _host(found[2])
    address = _literal(host)
    in_the_clear = found[1] is not None or (address is not None and address.is_loopback)
    return [(scheme, host, port or PORTS[scheme]) for scheme in ("https", *["http"] * in_the_clear)]


def _host(text: str) -> str:
    """A host in the form in which it is compared."""
    return text.strip("[]").lower()


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_host(host: str) -> bool:
    """Whether it is an address, or a name that nobody reads as one: `0x7f.1` and `2130706433` are read so."""
    labels = host.split(".")
    are_labels = all(0 < len(label) <= LONGEST_LABEL for label in labels)
    return _literal(host) is not None or (are_labels and not _NUMBER.fullmatch(labels[-1]))


def _embedded(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address may stand for."""
    if isinstance(address, ipaddress.IPv6Address) and not address.is_loopback:
        for network, shift in EMBEDDING:
            if address in network:
                yield ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
        if address.teredo is not None:
            yield from address.teredo
