"""What openapi.json promises is kept: schemathesis asks everything that it allows, and much that it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sal_service.api.app import create_app
from sal_service.api.gate.access import Access
from sal_service.api.gate.limits import LANES, Lane, Lanes
from sal_service.api.service import Service, ServiceSettings
from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.service.api.serving import served_app

CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance,negative_data_rejection"
PATIENT = Lanes([Lane(**{**vars(lane), "times": 100_000}) for lane in LANES])


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    bundle = make_calibrated_bundle(tmp_path / "tiny.bundle")
    settings = ServiceSettings({"yard": tmp_path / "yard.sal"}, tmp_path / "state", bundle=bundle)
    with (
        Service(settings) as service,
        served_app(create_app(service, Access(None, secure_cookies=False), lanes=PATIENT)) as address,
    ):
        command = [Path(sys.executable).with_name("schemathesis"), "run", f"{address}/openapi.json"]
        given = ["--max-examples", "4", "--checks", CHECKS, "--no-color", "--generation-deterministic"]
        done = subprocess.run([*command, *given], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "31/31" in done.stdout
