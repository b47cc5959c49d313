"""Posting to listed hosts, and to nothing else: hostile addresses, names that lead inside, servers that misbehave."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sal_runtime.errors import ConfigError
from sal_service.watches import webhook
from sal_service.watches.watch import RefusedError, UndeliveredError
from sal_service.watches.webhook import Webhooks
from tests.service.watches.receiver import answer_with, receiver

LISTED = (
    "alerts.example.org",
    "alerts.example.org:8443",
    "http://plain.example.org",
    "10.0.0.5:8443",
    "[fd00::5]:8443",
    "127.0.0.1:8080",
    "93.184.216.34",
)
HOSTILE = {
    "scheme": [
        "ftp://alerts.example.org/",
        "file:///etc/passwd",
        "gopher://alerts.example.org:443/_x",
        "javascript:alert(1)",
        "dict://127.0.0.1:11211/stat",
        "HTTPS://alerts.example.org/",
        "https:/alerts.example.org/",
        "https:alerts.example.org",
        "//alerts.example.org/",
        "alerts.example.org",
        "https+unix://alerts.example.org/",
        "http://alerts.example.org/",
        "ldap://alerts.example.org/",
        "",
    ],
    "user": [
        "https://alerts.example.org@evil.example/",
        "https://user@alerts.example.org/",
        "https://user:pass@alerts.example.org/",
        "https://:@alerts.example.org/",
        "https://alerts.example.org:443@evil.example/",
        "https://evil.example#@alerts.example.org/",
        "https://evil.example\\@alerts.example.org/",
        "https://alerts.example.org\\@evil.example/",
        "https://alerts.example.org%40evil.example/",
        "https://@alerts.example.org/",
    ],
    "line breaks": [
        "https://alerts.example.org/\r\nHost: evil.example",
        "https://alerts.example.org/a b",
        "https://alerts.example.org/\n",
        "https://alerts.example.org\r\n.evil.example/",
        "https://alerts.example.org/\t",
        "\nhttps://alerts.example.org/",
        " https://alerts.example.org/",
        "https://alerts.example.org/ HTTP/1.1\r\n\r\nGET /admin",
        "https://alerts.example.org/\x00",
        "https://alerts.example.org/\x7f",
        "https://alerts.example.org/\u2028",
        "https://alerts.example.org/%0d%0a\x0bx",
        "ht\ntps://alerts.example.org/",
    ],
    "host that is not listed": [
        "https://evil.example/",
        "https://alerts.example.org.evil.example/",
        "https://evil.example/alerts.example.org",
        "https://xalerts.example.org/",
        "https://example.org/",
        "https://sub.alerts.example.org/",
        "https://alerts.example.org./",
        "https://.alerts.example.org/",
        "https://alerts%2eexample.org/",
        "https://alerts。example。org/",
        "https://\u0430lerts.example.org/",
        "https://ALERTS.EXAMPLE.ORG.evil.example/",
        "https://localhost/",
        "https://localhost:8080/",
        "https://*/",
        "https:///",
        "https://?alerts.example.org/",
        "https://alerts.example.org%00.evil.example/",
        "https://[alerts.example.org]/",
    ],
    "port": [
        "https://alerts.example.org:22/",
        "https://alerts.example.org:80/",
        "https://alerts.example.org:0/",
        "https://alerts.example.org:65536/",
        "https://alerts.example.org:99999/",
        "https://alerts.example.org:-443/",
        "https://alerts.example.org:443:80/",
        "https://alerts.example.org:4 43/",
        "https://alerts.example.org:٤٤٣/",
        "https://alerts.example.org:/",
        "https://10.0.0.5/",
        "https://10.0.0.5:22/",
        "http://127.0.0.1/",
        "http://127.0.0.1:6379/",
        "http://plain.example.org:8080/",
    ],
    "metadata and link-local": [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[0:0:0:0:0:ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00:ec2::254]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://192.0.0.192/",
        "http://metadata.google.internal/",
        "http://metadata/",
    ],
    "other forms of an address": [
        "http://2130706433:8080/",
        "http://2852039166/",
        "http://0x7f000001:8080/",
        "http://0x7f.0x0.0x0.0x1:8080/",
        "http://0177.0.0.1:8080/",
        "http://017700000001:8080/",
        "http://127.1:8080/",
        "http://127.0.1:8080/",
        "http://0:8080/",
        "http://0.0.0.0:8080/",
        "http://[::]:8080/",
        "http://[::1]:8080/",
        "http://[::ffff:127.0.0.1]:8080/",
        "http://[::127.0.0.1]:8080/",
        "http://[0:0:0:0:0:0:0:1]:8080/",
        "http://127.0.0.1.:8080/",
        "http://127.0.0.2:8080/",
        "http://①②⑦.0.0.1:8080/",
        "http://0xA9FEA9FE/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "https://10.5:8443/",
        "https://0x0a000005:8443/",
        "https://[fd00:0:0:0:0:0:0:5]:8443/",
        "https://[::ffff:10.0.0.5]:8443/",
    ],
    "fragment and length": [
        "https://alerts.example.org/#x",
        "https://alerts.example.org#evil.example",
        "https://alerts.example.org/" + "a" * 2000,
        "https://" + "a" * 3000 + "/",
        "https://[" + ":" * 1000 + "]/",
        "https://alerts.example.org/😀",
        "https://alerts.example.org;evil.example/",
        "https://alerts.example.org,evil.example/",
    ],
}
PUBLIC = "93.184.216.34"
LEADS_TO = {
    "loopback": ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"],
    "private": ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "fc00::1", "::ffff:10.0.0.1"],
    "link-local and metadata": [
        "169.254.169.254",
        "fe80::1",
        "fe80::1%1",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
    ],
    "wrapped": ["64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:a00:1::", "2002:a9fe:a9fe::1", "::10.0.0.1", "64:ff9b:1::1",
                "2001:0:a00:1::1"],
    "no host": ["0.0.0.0", "::", "0.1.2.3", "255.255.255.255", "240.0.0.1", "224.0.0.1", "ff02::1", "198.18.0.1",
                "192.0.2.1", "2001:db8::1"],
}  # fmt: skip


class Attempts:
    """Connections that were attempted, and names that lead where a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connected: list[str] = []
        self.looked_up: list[str] = []
        self.leads_to: list[str] = [PUBLIC]
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        monkeypatch.setattr(socket, "create_connection", self.connect)
        monkeypatch.setattr(socket.socket, "connect", self.connect)

    def look_up(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        self.looked_up.append(host)
        found = [str(ipaddress.ip_address(host))] if is_address(host) else self.leads_to
        return [(socket.AF_INET6 if ":" in text else socket.AF_INET, 1, 6, "", (text, port)) for text in found]

    def connect(self, address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        self.connected.append(address[0])
        raise ConnectionRefusedError("nobody there")


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    return Attempts(monkeypatch)


@pytest.mark.parametrize(("kind", "url"), [(kind, url) for kind, urls in HOSTILE.items() for url in urls])
def test_a_hostile_url_is_neither_looked_up_nor_connected_to(kind: str, url: str, attempts: Attempts) -> None:
    webhooks = Webhooks(LISTED, 1.0)
    with pytest.raises(RefusedError) as caught:
        webhooks.post(url, b"{}", {})
    assert attempts.connected == attempts.looked_up == []
    assert len(str(caught.value)) < 4000
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("kind", "address"), [(kind, text) for kind, texts in LEADS_TO.items() for text in texts])
@pytest.mark.parametrize("beside", [[], [PUBLIC]], ids=["alone", "beside a public one"])
def test_a_listed_name_that_leads_inside_is_not_connected_to(
    kind: str, address: str, beside: list[str], attempts: Attempts
) -> None:
    attempts.leads_to = [*beside, address]
    with pytest.raises(UndeliveredError, match="not connected to"):
        Webhooks(LISTED, 1.0).post("https://alerts.example.org/hook", b"{}", {})
    assert attempts.connected == []


def test_the_tables_are_long() -> None:
    counts = Counter({kind: len(urls) for kind, urls in {**HOSTILE, **LEADS_TO}.items()})
    assert sum(counts.values()) > 150
    assert all(len(set(urls)) == len(urls) for urls in HOSTILE.values())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://alerts.example.org/hook?a=b", PUBLIC),
        ("https://ALERTS.example.org:8443", PUBLIC),
        ("http://plain.example.org/", PUBLIC),
        ("https://plain.example.org/", PUBLIC),
        ("https://10.0.0.5:8443/", "10.0.0.5"),
        ("https://[fd00::5]:8443/", "fd00::5"),
        ("http://127.0.0.1:8080/", "127.0.0.1"),
        ("https://93.184.216.34/", PUBLIC),
        ("https://alerts.example.org?x", PUBLIC),
    ],
)
def test_listed_hosts_are_connected_to_at_the_address_that_was_looked_at(
    url: str, address: str, attempts: Attempts
) -> None:
    with pytest.raises(UndeliveredError, match="nobody there"):
        Webhooks(LISTED, 1.0).post(url, b"{}", {})
    assert attempts.connected == [address]
    assert len(attempts.looked_up) == 1


def test_a_name_inside_is_connected_to_where_its_address_is_listed_too(attempts: Attempts) -> None:
    attempts.leads_to = ["10.0.0.5"]
    with pytest.raises(UndeliveredError, match="not connected to"):
        Webhooks(LISTED, 1.0).post("https://alerts.example.org/", b"{}", {})
    with pytest.raises(UndeliveredError, match="nobody there"):
        Webhooks(LISTED, 1.0).post("https://alerts.example.org:8443/", b"{}", {})
    assert attempts.connected == ["10.0.0.5"]


def test_metadata_is_not_connected_to_even_if_it_is_listed(attempts: Attempts) -> None:
    for host in ("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"):
        with pytest.raises(UndeliveredError, match="not connected to"):
            Webhooks([host, f"http://{host}"], 1.0).post(f"http://{host}/", b"{}", {})
    assert attempts.connected == []


def test_the_second_address_is_tried_where_the_first_does_not_answer(attempts: Attempts) -> None:
    attempts.leads_to = [PUBLIC, "93.184.216.35"]
    with pytest.raises(UndeliveredError):
        Webhooks(LISTED, 1.0).post("https://alerts.example.org/", b"{}", {})
    assert attempts.connected == attempts.leads_to


def test_a_name_that_is_not_found_is_tried_again(monkeypatch: pytest.MonkeyPatch, attempts: Attempts) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UndeliveredError, match="not known"):
        Webhooks(LISTED, 1.0).post("https://alerts.example.org/", b"{}", {})
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(UndeliveredError, match="has no address"):
        Webhooks(LISTED, 1.0).post("https://alerts.example.org/", b"{}", {})


@pytest.mark.parametrize(
    "entry",
    ["", "https://a.example", "a.example/", "a.example:0", "a.example:65536", "a b", "*", "*.example.org", "a..b",
     "2130706433", "0x7f.1", "127.1", "user@a.example", "[::1", "::1", "a.example.", "a" * 64 + ".org", "a.example\n"],
)  # fmt: skip
def test_what_is_no_host_cannot_be_listed(entry: str) -> None:
    with pytest.raises(ConfigError, match="in the list of webhooks"):
        Webhooks([entry], 1.0)


def test_certificates_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as certificates"):
        Webhooks([], 1.0, tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be read as certificates"):
        Webhooks([], 1.0, tmp_path / "bad.pem")


def test_what_is_sent_arrives_whole() -> None:
    with receiver() as found:
        Webhooks([found.host], 5.0).post(f"{found.url}?a=b%20c", b'{"a": "\xc3\xa9"}', {"X-Test": "1"})
    ((path, headers, body),) = found.received
    assert (path, body) == ("/hook?a=b%20c", b'{"a": "\xc3\xa9"}')
    assert (headers["X-Test"], headers["Host"]) == ("1", found.host)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 400, 401, 404, 410, 429, 500, 503, 100, 199])
def test_any_other_answer_is_no_delivery_and_a_redirect_is_not_followed(status: int) -> None:
    with receiver() as elsewhere, receiver(answer_with(status, Location=elsewhere.url)) as found:
        with pytest.raises(UndeliveredError) as caught:
            Webhooks([found.host, elsewhere.host], 5.0).post(found.url, b"{}", {})
        assert elsewhere.received == []
    assert caught.value.answered == (status >= 199)


def drip(what: bytes) -> Any:
    """An answer without an end, a byte at a time, until the other side leaves."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        for number in range(10_000):
            try:
                handler.wfile.write(what[number % len(what) : number % len(what) + 1])
            except OSError:
                return
            time.sleep(0.001)

    return answer


@pytest.mark.parametrize(
    "what", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000, b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["headers", "continue"]
)
def test_an_answer_that_does_not_end_is_cut(what: bytes) -> None:
    with receiver(drip(what)) as found, pytest.raises(UndeliveredError) as caught:
        Webhooks([found.host], 0.3).post(found.url, b"{}", {})
    assert not caught.value.answered
    assert "did not answer within 0.3 seconds" in str(caught.value)


def test_a_server_that_says_nothing_is_left() -> None:
    leave = threading.Event()
    with receiver(lambda _: leave.wait(30) and None) as found:
        with pytest.raises(UndeliveredError, match="did not answer within"):
            Webhooks([found.host], 0.3).post(found.url, b"{}", {})
        leave.set()


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0" * 70_000])
def test_what_is_no_answer_is_no_delivery(answer: bytes) -> None:
    with receiver(lambda handler: handler.wfile.write(answer) and None) as found, pytest.raises(UndeliveredError):
        Webhooks([found.host], 5.0).post(found.url, b"{}", {})


def test_the_body_of_an_answer_is_not_read() -> None:
    """A receiver that accepts and then sends for ever has accepted."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        drip(b"x")(handler)

    with receiver(answer) as found:
        Webhooks([found.host], 30.0).post(found.url, b"{}", {})


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiver() as found:
        Webhooks([found.host], 5.0).post(found.url, b"{}", {})
    assert len(found.received) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "30", "-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def https(url: str) -> str:
    return url.replace("http://", "https://")


def test_a_certificate_that_is_trusted_is_enough(server_tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    with receiver(tls=server_tls) as found:
        Webhooks([found.host], 5.0, certificate[0]).post(https(found.url), b"{}", {})
    assert len(found.received) == 1


def test_nothing_is_sent_to_a_server_whose_certificate_is_wrong(
    server_tls: ssl.SSLContext, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver(tls=server_tls) as found:
        with pytest.raises(UndeliveredError, match="self-signed"):
            Webhooks([found.host], 5.0).post(https(found.url), b"{}", {})
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", found.port))])
        other = f"receiver.example.org:{found.port}"
        with pytest.raises(UndeliveredError, match="Hostname mismatch"):
            Webhooks([found.host, other], 5.0, certificate[0]).post(f"https://{other}/", b"{}", {})
    assert found.received == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(server_tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    server_tls.minimum_version = ssl.TLSVersion.TLSv1
    server_tls.maximum_version = ssl.TLSVersion.TLSv1_1
    server_tls.set_ciphers("ALL:@SECLEVEL=0")
    with receiver(tls=server_tls) as found, pytest.raises(UndeliveredError):
        Webhooks([found.host], 5.0, certificate[0]).post(https(found.url), b"{}", {})


def test_a_server_without_tls_is_no_receiver_of_https() -> None:
    with receiver() as found, pytest.raises(UndeliveredError):
        Webhooks([found.host], 2.0).post(https(found.url), b"{}", {})
    assert found.received == []


def test_a_handshake_that_does_not_end_is_cut() -> None:
    """A record of TLS that is announced and comes a byte at a time."""
    server = socket.create_server(("127.0.0.1", 0))
    gone = threading.Event()

    def serve() -> None:
        client, _ = server.accept()
        with client:
            client.sendall(b"\x16\x03\x03\x40\x00")
            while not gone.wait(0.01):
                try:
                    client.sendall(b"\x02")
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    host = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UndeliveredError):
        Webhooks([host], 0.3).post(f"https://{host}/", b"{}", {})
    gone.set()
    thread.join()
    server.close()


def test_the_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    original = webhook._first_connection
    monkeypatch.setattr(webhook, "_first_connection", lambda *a: made.append(original(*a)) or made[-1])
    with receiver() as found, receiver(answer_with(500)) as failing:
        webhooks = Webhooks([found.host, failing.host], 5.0)
        webhooks.post(found.url, b"{}", {})
        with pytest.raises(UndeliveredError):
            webhooks.post(failing.url, b"{}", {})
    assert [connection.fileno() for connection in made] == [-1, -1]
