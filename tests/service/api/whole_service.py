"""The whole service on a loopback port, with a token of each role, for tests that ask it from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fastapi import FastAPI

from sal_service.api.app import create_app
from sal_service.api.gate.access import Access
from sal_service.api.gate.http_protocol import DeadlineProtocol, Server
from sal_service.api.gate.limits import LANES, Lanes
from sal_service.api.service import Service, ServiceSettings
from sal_service.governance.tokens import Tokens, add_token
from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.service.api.small_app import serving

NUM_IMAGES = 6


@dataclass(frozen=True)
class Whole:
    """A running service; its gallery `yard` holds `NUM_IMAGES` images of the camera `door`."""

    service: Service
    app: FastAPI
    address: tuple[str, int]
    tokens: dict[str, str]
    expired: str


def picture(seed: int) -> bytes:
    """A JPEG of one colour."""
    return cv2.imencode(".jpg", np.full((40, 20, 3), 40 * seed % 256, np.uint8))[1].tobytes()


@contextmanager
def whole_service(folder: Path, protocol: type[DeadlineProtocol] = DeadlineProtocol) -> Iterator[Whole]:
    """Serve until the end; rates are high."""
    bundle = make_calibrated_bundle(folder / "tiny.bundle")
    settings = ServiceSettings(
        galleries={"yard": folder / "yard.sal"}, state=folder / "state", bundle=bundle, bundles=folder
    )
    file = folder / "tokens.toml"
    tokens = {role: add_token(file, role, [role], time.time() + 10_000) for role in ("search", "ingest", "admin")}  # type: ignore[list-item]
    expired = add_token(file, "expired", ["admin"], time.time() - 1)
    lanes = Lanes([replace(lane, times=1_000_000) for lane in LANES])
    with closing(Service(settings)) as service:
        intake = service.gallery("yard").ingest.intake
        for seed in range(NUM_IMAGES):
            at = datetime(2026, 11, 28, 12, 0, seed, tzinfo=UTC).timestamp()
            intake.submit(picture(seed), camera="door", captured_at=at, track=f"t{seed}").result(30)
        app = create_app(service, Access(Tokens.read(file), secure_cookies=False), lanes=lanes)

        class Ours(Server):
            def __init__(self, config: Any) -> None:
                super().__init__(config, service.hub.close)

        with serving(app, Ours, http=protocol, timeout_keep_alive=2, lifespan="off") as address:
            yield Whole(service, app, address, tokens, expired)
