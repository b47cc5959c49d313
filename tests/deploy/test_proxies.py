"""The examples of nginx and Caddy in front of a server: TLS, limits, and events that arrive one by one."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.upstream import Upstream, serving

DEPLOY = Path(__file__).parents[2] / "deploy"
LONG = 60


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs."""

    host: str
    port: int
    upstream: Upstream

    def connect(self) -> http.client.HTTPSConnection:
        """A connection whose TLS asks for the right host; the certificate is one of the test's own."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=LONG, context=context)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=LONG)
        connection.sock = context.wrap_socket(plain, server_hostname=self.host)
        return connection


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + LONG
    while time.monotonic() < give_up_at:
        assert process.poll() is None, "the proxy has ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=LONG).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the proxy does not listen")


def start_nginx(folder: Path, upstream: int) -> tuple[subprocess.Popen[bytes], str, int]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed: apt-get install nginx-light openssl")
    names = {"key": folder / "key.pem", "cert": folder / "cert.pem"}
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*made, "-subj", "/CN=sal.example.org", "-keyout", names["key"], "-out", names["cert"]],
        check=True, capture_output=True,
    )  # fmt: skip
    port, plain = free_port(), free_port()
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in {
        "/etc/sal/": f"{folder}/",
        "/run/nginx.pid": f"{folder}/pid",
        "127.0.0.1:8377": f"127.0.0.1:{upstream}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{plain}",
        "client_header_timeout 5s": "client_header_timeout 1s",
        "client_body_timeout 15s": "client_body_timeout 1s",
        "http {": "http {\n" + "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
    }.items():  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(f"daemon off;\nmaster_process off;\n{text}")
    command = [program, "-e", folder / "error.log", "-p", folder, "-c", folder / "nginx.conf"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert (tested.returncode, "[warn]" in tested.stderr) == (0, False), tested.stderr
    return subprocess.Popen(command, stderr=subprocess.DEVNULL), "sal.example.org", port


def start_caddy(folder: Path, upstream: int) -> tuple[subprocess.Popen[bytes], str, int]:
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("Caddy is not installed: apt-get install caddy")
    port = free_port()
    text = (DEPLOY / "Caddyfile").read_text()
    for old, new in {
        "\tadmin off\n": "\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n",
        "read_header 5s": "read_header 1s",
        "read_body 60s": "read_body 1s",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(text)
    environment = os.environ | {
        "SAL_HOST": f"localhost:{port}",
        "SAL_UPSTREAM": f"127.0.0.1:{upstream}",
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
    }
    command = [program, "run", "--config", folder / "Caddyfile"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL), "localhost", port


@pytest.fixture(scope="module", params=[start_nginx, start_caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with serving() as upstream:
        process, host, port = request.param(tmp_path_factory.mktemp("proxy"), upstream.server_port)
        try:
            wait_for(port, process)
            yield Proxy(host, port, upstream)
        finally:
            process.terminate()
            process.wait()


def test_a_request_reaches_the_service_with_its_host(proxy: Proxy) -> None:
    with closing(proxy.connect()) as connection:
        connection.request("GET", "/v1/version", headers={"Host": proxy.host, "X-Forwarded-For": "6.6.6.6"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"/v1/version")
        assert answer.getheader("Strict-Transport-Security") == "max-age=31536000"
    assert proxy.upstream.headers["Host"] == proxy.host
    assert proxy.upstream.headers["X-Forwarded-For"] == "127.0.0.1"  # what a client claims is not passed on
    assert proxy.upstream.headers["X-Forwarded-Proto"] == "https"


def test_events_arrive_one_by_one(proxy: Proxy) -> None:
    proxy.upstream.go_on.clear()
    with closing(proxy.connect()) as connection:
        connection.request("GET", "/v1/events", headers={"Host": proxy.host})
        answer = connection.getresponse()
        assert [answer.readline(), answer.readline()] == [b"data: 1\n", b"\n"]  # while the second is not sent yet
        proxy.upstream.go_on.set()
        assert answer.read() == b"data: 2\n\n"


def test_metrics_are_not_for_others(proxy: Proxy) -> None:
    with closing(proxy.connect()) as connection:
        connection.request("GET", "/metrics", headers={"Host": proxy.host})
        assert connection.getresponse().status == 404


@pytest.mark.parametrize(("megabytes", "allowed"), [(8, {200}), (140, {413, 502})])  # Caddy before 2.7 says 502
def test_a_body_is_taken_up_to_a_limit(proxy: Proxy, megabytes: int, allowed: set[int]) -> None:
    with closing(proxy.connect()) as connection:
        connection.putrequest("POST", "/v1/galleries/yard/crops/batch", skip_host=True)
        connection.putheader("Host", proxy.host)
        connection.putheader("Content-Length", str(megabytes * 1_000_000))
        connection.endheaders()
        try:
            for _ in range(megabytes):
                connection.send(bytes(1_000_000))
        except OSError:
            assert 413 in allowed  # it has answered and hung up
        try:
            assert connection.getresponse().status in allowed
        except OSError:
            assert 413 in allowed


@pytest.mark.parametrize(
    "begun", [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 9\r\n\r\nbo"]
)
def test_whoever_does_not_go_on_is_hung_up_on(proxy: Proxy, begun: bytes) -> None:
    with closing(proxy.connect()) as connection:
        connection.sock.sendall(begun.replace(b"%b", proxy.host.encode()))
        received = b""
        while part := connection.sock.recv(10_000):
            received += part
        assert not received.endswith(b"\r\n\r\n9")  # the service never got a whole request


def test_another_host_is_not_served(proxy: Proxy) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=LONG) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="evil.example")
