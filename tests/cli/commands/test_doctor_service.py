"""`sal doctor --service`: what a running service, or what is in its place, makes it say."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sal_runtime.version import __version__
from tests.command_line import Outcome, check_one_error, run_sal

Answers = dict[str, tuple[int, object]]
TOKEN = "sal_" + "t" * 43
DEVICES = [
    {"part": "yard: images", "device": "cuda", "precision": "fp16"},
    {"part": "detector", "device": "cpu", "precision": None},
]
READY = {"ready": True}
HEALTH = READY | {"problems": [], "version": __version__, "devices": DEVICES, "uptime_seconds": 11_530.2}
WELL: Answers = {"/readyz": (200, READY), "/v1/health": (200, HEALTH)}


class _Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers: Answers) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.tokens = answers, dict[str, str | None]()


class _Handler(BaseHTTPRequestHandler):
    server: _Service

    def do_GET(self) -> None:
        self.server.tokens[self.path] = self.headers["Authorization"]
        status, body = self.server.answers.get(self.path, (404, {}))
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if status == 308:
            self.send_header("Location", "https://elsewhere.example/")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(answers: Answers) -> Iterator[_Service]:
    with _Service(answers) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield service
        service.shutdown()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(answers: Answers, *options: object) -> Outcome:
        with serving(answers) as service:
            url = f"http://127.0.0.1:{service.server_port}"
            code, out, err = run_sal(capsys, "doctor", "--service", url, *options)
        return code, out.replace(url, "URL"), err

    return run


def test_a_service_that_works(ask: Callable[..., Outcome], token: Path) -> None:
    code, out, err = ask(WELL, "--token-file", token)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "ready",
        "",
        f"service  URL: sal {__version__}, up for 3 h 12 min",
        "",
        "part                           device     precision",
        "yard: images                   cuda       fp16",
        "detector                       cpu",
    ]


def test_the_token_goes_to_the_one_address_that_needs_it(token: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(WELL) as service:
        run_sal(capsys, "doctor", "--service", f"http://localhost:{service.server_port}/", "--token-file", token)
    assert service.tokens == {"/readyz": None, "/v1/health": f"Bearer {TOKEN}"}


def test_what_is_wrong_is_told_with_what_to_do(ask: Callable[..., Outcome], token: Path) -> None:
    problems = ["the disk of /var/lib/sal is full", "camera door: no frame for 40 s", "gate; open it", "odd"]
    told = {"ready": False, "problems": problems}
    code, out, err = ask(
        {"/readyz": (503, {"ready": False}), "/v1/health": (200, HEALTH | told)}, "--token-file", token
    )
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == "not ready"
    assert max(map(len, lines)) <= 80
    text = " ".join(out.split())
    assert "is full; make room; what was submitted waits" in text
    assert "40 s; see that the camera answers from the service's machine" in text
    assert "problem gate; open it problem odd; see docs/service.md" in text


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ((401, {}), "the token is unknown or has expired"),
        ((403, {}), "the token has no role"),
        ((429, {}), "wait a minute"),
        ((500, {}), "it answered with status 500"),
        ((502, b"<html>"), "a proxy answers, and not the service behind it"),
        ((308, {}), "it sends on to https://elsewhere.example/; name that address"),
        ((200, b"no JSON"), "no service of sal answers there"),
        ((200, [1]), "no service of sal answers there"),
        ((200, {"ready": True}), "a form that this version of sal does not know"),
    ],
)
def test_a_state_that_is_not_told(
    health: tuple[int, object], said: str, ask: Callable[..., Outcome], token: Path
) -> None:
    code, out, err = ask(WELL | {"/v1/health": health}, "--token-file", token)
    assert (code, err) == (0, "")
    assert said in " ".join(out.split())


def test_without_a_token_it_is_said_what_is_missing(ask: Callable[..., Outcome]) -> None:
    code, out, _ = ask({"/readyz": (503, {"ready": False}), "/v1/health": (401, {})})
    assert (code, out.splitlines()[0]) == (1, "not ready")
    assert "it asks for a token; name a file that holds one with --token-file" in " ".join(out.split())


def test_another_version_is_told(ask: Callable[..., Outcome]) -> None:
    _, out, _ = ask(WELL | {"/v1/health": (200, HEALTH | {"version": "0.0.1"})})
    assert "the service is sal 0.0.1" in out


@pytest.mark.parametrize(
    ("readiness", "said"),
    [
        ((404, {}), "no service of sal answers there"),
        ((200, {}), "no service of sal answers there"),
        ((502, b""), "a proxy answers"),
    ],
)
def test_what_is_no_service(readiness: tuple[int, object], said: str, ask: Callable[..., Outcome]) -> None:
    code, out, err = ask({"/readyz": readiness})
    assert (code, out.splitlines()[0], err) == (1, "not reached", "")
    assert said in " ".join(out.split())


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_sal(capsys, "doctor", "--service", "http://127.0.0.1:1")
    assert (code, err) == (1, "")
    assert "it cannot be reached (Connection refused); start it with `sal serve`" in " ".join(out.split())


def test_json_is_one_document(ask: Callable[..., Outcome], token: Path) -> None:
    code, out, err = ask(WELL, "--token-file", token, "--json")
    document = json.loads(out)
    assert (code, err, document["ready"], document["devices"]) == (0, "", True, DEVICES)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8377", "ftp://host", "http://", "http://u:p@host", "http://host:port", "http://h?q"]
)
def test_what_is_no_address(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_one_error(run_sal(capsys, "doctor", "--service", url), 2, "expected an address")


def test_a_token_is_kept(token: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = ("doctor", "--service", "http://sal.example.org", "--token-file", token)
    check_one_error(run_sal(capsys, *plain), 2, "without encryption", "https://")
    local = ("doctor", "--service", "http://127.0.0.1:1", "--token-file", token)
    token.chmod(0o644)
    check_one_error(run_sal(capsys, *local), 2, "others may read it")
    token.chmod(0o600)
    token.write_text("two words")
    check_one_error(run_sal(capsys, *local), 2, "holds no token")
    token.unlink()
    check_one_error(run_sal(capsys, *local), 2, "No such file")


def test_options_that_cannot_take_effect(token: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_one_error(run_sal(capsys, "doctor", "--token-file", token), 2, "give --service")
    check_one_error(run_sal(capsys, "doctor", "--service", "http://127.0.0.1:1", "--device", "cuda"), 2, "--device")


def test_a_certificate_that_nobody_trusts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import ssl

    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    pair = ["-subj", "/CN=localhost", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    subprocess.run([*made, *pair], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with _Service(WELL) as service:
        service.handle_error = lambda *_: None  # type: ignore[method-assign]
        service.socket = context.wrap_socket(service.socket, server_side=True)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        code, out, _ = run_sal(capsys, "doctor", "--service", f"https://localhost:{service.server_port}")
        service.shutdown()
    assert code == 1
    assert "its certificate is not trusted (self-signed certificate)" in " ".join(out.split())


def test_it_needs_nothing_but_python() -> None:
    code = (
        "import sys\n"
        "from sal_cli.app import main\n"
        "try:\n    main(['doctor', '--service', 'http://127.0.0.1:1'])\nexcept SystemExit:\n    pass\n"
        "print({'fastapi', 'uvicorn', 'onnxruntime', 'cv2', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
