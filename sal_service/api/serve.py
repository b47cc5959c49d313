"""The service on the network: one process, until it is stopped."""

from __future__ import annotations

import ipaddress
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from sal_runtime.errors import ConfigError, SalError
from sal_service.api.app import create_app
from sal_service.api.gate.access import Access
from sal_service.api.gate.http_protocol import DeadlineProtocol, Server
from sal_service.api.gate.limits import Lanes, lanes_of_policy
from sal_service.api.logs import log_as_json
from sal_service.api.notify import notify
from sal_service.api.service import Service, ServiceSettings
from sal_service.governance.tokens import Tokens
from sal_service.memory import share_one_heap

GRACE_SECONDS = 10
"""How long a service that is stopped waits for what is still being answered."""
BACKLOG = 512


@dataclass(frozen=True)
class Network:
    """How a service is reached.

    Attributes:
        host: address to listen at.
        port: port; 0 takes any that is free.
        host_names: names that people reach it by, besides `localhost` and addresses in figures.
        tokens: file of tokens; None asks nobody for one, which is for loopback addresses only.
        insecure: listen at another address than a loopback one without tokens.
        trusted_proxies: networks of reverse proxies whose `X-Forwarded-For` is believed.
        tls_certificate: file with the certificate chain (PEM); None for plain HTTP.
        tls_key: file with its key.
    """

    host: str = "127.0.0.1"
    port: int = 8377
    host_names: tuple[str, ...] = ()
    tokens: Path | None = None
    insecure: bool = False
    trusted_proxies: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what would let strangers in.

        Raises:
            ConfigError: says what to do.
        """
        if self.tokens is None and not self.is_loopback and not self.insecure:
            raise ConfigError(
                f"without tokens, everybody who reaches {self.host} could search, add and delete; make a token with "
                "`sal token add`, or state that this is meant",
                parameter="insecure",
            )
        if (self.tls_certificate is None) is not (self.tls_key is None):
            raise ConfigError("TLS needs a certificate and its key; name both", parameter="tls_key")
        for file in (self.tls_certificate, self.tls_key):
            if file is not None and not file.is_file():
                raise ConfigError(f"{file}: there is no such file; TLS needs a certificate and its key (PEM)")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_behind_tls(self) -> bool:
        """Whether browsers reach it over TLS; plain HTTP is for loopback addresses, where no proxy is named."""
        return not self.is_loopback or self.tls_certificate is not None or bool(self.trusted_proxies)

    def address(self, port: int) -> str:
        """Where the page is."""
        scheme = "http" if self.tls_certificate is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{port}/"


def run_service(settings: ServiceSettings, network: Network, ready: Callable[[Service, str], None]) -> None:
    """Serve until SIGINT or SIGTERM; what was acknowledged is kept.

    Args:
        settings: what is served.
        network: how it is reached.
        ready: called with the service and the address of its page when it answers.

    Raises:
        ConfigError: the policy limits a kind of requests that there is not.
        SalError: something cannot be opened, or nothing can listen at the address.
    """
    share_one_heap()
    tokens = None if network.tokens is None else Tokens.read(network.tokens)
    lanes = Lanes(lanes_of_policy(settings.policy.limits))
    log_as_json()
    with Service(settings) as service:
        access = Access(
            tokens,
            secure_cookies=network.is_behind_tls,
            trusted_proxies=network.trusted_proxies,
        )
        app = create_app(service, access, host_names=network.host_names, lanes=lanes)

        def began(sockets: Sequence[Any]) -> None:
            notify("READY=1")
            ready(service, network.address(sockets[0].getsockname()[1]))

        def stopping() -> None:
            notify("STOPPING=1")
            service.hub.close()

        server = _ServiceServer(_config(app, network), stopping, began)
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signal that stopped it once more, which would end the process with the service open
            signal.signal(signal.SIGTERM, lambda number, frame: None)
        try:
            server.run()
        except OSError as error:
            raise SalError(
                f"cannot listen at {network.host}, port {network.port}: {error.strerror or error}"
            ) from error
        except SystemExit as error:  # uvicorn's way to say that it could not begin; its log says why
            raise SalError(
                f"cannot listen at {network.host}, port {network.port}: is another service there?"
            ) from error


def _config(app: FastAPI, network: Network) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=network.host,
        port=network.port,
        http=DeadlineProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=network.tls_certificate,
        ssl_keyfile=network.tls_key,
    )


class _ServiceServer(Server):
    """Tells when it answers."""

    def __init__(
        self, config: uvicorn.Config, at_stop: Callable[[], None], at_start: Callable[[Sequence[Any]], None]
    ) -> None:
        super().__init__(config, at_stop)
        self._at_start = at_start

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            self._at_start([listening for server in self.servers for listening in server.sockets])
