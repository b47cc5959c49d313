"""A service in a process of its own, and a small client of it, for tests and benchmarks.

with started(folder, [folder / "yard.sal"], "--bundle", bundle) as service:
    service.client("search").post("/v1/galleries/yard/search", {"description": "hat"}).json()
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sal_service.governance.tokens import Role, add_token

REPOSITORY = Path(__file__).parents[3]
ROLES: tuple[Role, ...] = ("search", "ingest", "admin")
START_SECONDS = 60.0
STOP_SECONDS = 60.0
ANSWER_SECONDS = 60.0
DAY = 86400.0
ADDRESS = re.compile(r"^serving .* at https?://[^/]+:(\d+)/ ", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Asks a service on this machine, with a connection for each request. Threads may share it."""

    port: int
    token: str | None = None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask.

        Raises:
            OSError, http.client.HTTPException: there was no answer.
        """
        connection = self.connect(method, path, body, headers)
        try:
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def connect(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPConnection:
        """The connection of a request that was sent, for answers that are read bit by bit; close it."""
        own = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, {**own, **(headers or {})})
        except BaseException:
            connection.close()
            raise
        return connection

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, document: Any = None) -> Answer:
        """Post JSON."""
        return self.request("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def post_picture(self, path: str, content: bytes) -> Answer:
        return self.request("POST", path, content, {"Content-Type": "image/jpeg"})

    def post_batch(self, path: str, items: Sequence[Mapping[str, Any]], files: Mapping[str, bytes]) -> Answer:
        """Post files, and one field `items`."""
        mark = secrets.token_hex(16)
        field = 'Content-Disposition: form-data; name="items"\r\n\r\n'
        parts = [f"--{mark}\r\n{field}{json.dumps(items)}\r\n".encode()]
        for name, content in files.items():
            field = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: image/jpeg\r\n'
            parts += [f"--{mark}\r\n{field}\r\n".encode(), content, b"\r\n"]
        body = b"".join([*parts, f"--{mark}--\r\n".encode()])
        return self.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={mark}"})

    def delete(self, path: str) -> Answer:
        return self.request("DELETE", path)


class RunningService:
    """`sal serve` in a process of its own, with a token for each role.

    Args:
        folder: gets the tokens, the state of the service and what it prints; another service may use it later.
        galleries: files to serve.
        options: more arguments of `sal serve`.
        environment: variables of the process, besides those of this one.

    Attributes:
        process: it.
        state: folder of what it keeps besides galleries.
        log: file with all that it and its predecessors printed.
        port: where it answers.
    """

    def __init__(
        self,
        folder: Path,
        galleries: Sequence[Path],
        options: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.state, self.log = folder / "state", folder / "service.log"
        self.tokens = _tokens(folder)
        self.port = 0
        command = [sys.executable, "-m", "sal_cli", "serve", *galleries, "--port", "0", "--state", self.state]
        command += ["--tokens", folder / "tokens.toml", *options]
        own = {name: value for name, value in os.environ.items() if name != "SAL_BUNDLE"}
        self._printed_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env={**own, **(environment or {})}, stderr=log)

    def wait_until_ready(self) -> RunningService:
        """Wait until it can be used, and return it."""
        give_up_at = time.monotonic() + START_SECONDS
        while not self.port:
            found = ADDRESS.search(self.printed())
            self.port = int(found[1]) if found else 0
            self._still_waiting(give_up_at)
        while self.client(None).get("/readyz").status != 200:
            self._still_waiting(give_up_at)
        return self

    def printed(self) -> str:
        """What it printed so far."""
        with self.log.open("rb") as log:
            log.seek(self._printed_before)
            return log.read().decode(errors="replace")

    def client(self, role: Role | None) -> Client:
        """A client with the token of a role, or without one."""
        return Client(self.port, None if role is None else self.tokens[role])

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator does; gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def _still_waiting(self, give_up_at: float) -> None:
        assert self.process.poll() is None, f"the service ended: {self.printed()}"
        assert time.monotonic() < give_up_at, f"the service is not ready: {self.printed()}"
        time.sleep(0.02)


@contextmanager
def started(folder: Path, galleries: Sequence[Path], *options: str | Path) -> Iterator[RunningService]:
    """A service that is ready; at the end it is stopped, or killed where the test failed."""
    service = RunningService(folder, galleries, options)
    try:
        yield service.wait_until_ready()
        service.stop()
    finally:
        service.kill()


def _tokens(folder: Path) -> dict[Role, str]:
    """A token of each role; a service that is started again in the same folder takes the same ones."""
    known = folder / "tokens.json"
    if not known.exists():
        ends = time.time() + DAY
        tokens = {role: add_token(folder / "tokens.toml", role, [role], ends) for role in ROLES}
        known.write_text(json.dumps(tokens))
    content: dict[Role, str] = json.loads(known.read_text())
    return content
