"""A camera that is read over TLS: whose certificate is believed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sal_runtime.errors import InputError
from sal_service.video.sources.opening import open_source
from sal_service.video.sources.settings import Library, SourceSettings
from tests.service.video import simulated_camera
from tests.service.video.simulated_camera import SimulatedCamera


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that its owner signed, for 127.0.0.1; the file beside it also has the key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out camera.pem -days 2 -subj /CN=127.0.0.1"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *extension], cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "camera.pem").read_text() + (folder / "key.pem").read_text())
    return folder / "camera.pem"


@pytest.fixture(scope="module")
def secured(certificate: Path) -> Iterator[SimulatedCamera]:
    if reason := simulated_camera.missing():
        pytest.skip(reason)
    with SimulatedCamera(certificate=certificate.with_name("both.pem")) as camera:
        yield camera


@pytest.mark.parametrize("library", ["opencv", "pyav"])
def test_a_certificate_that_nobody_signed(secured: SimulatedCamera, certificate: Path, library: Library) -> None:
    if library == "pyav":
        pytest.importorskip("av", reason="needs PyAV, which the extra `video` installs")
    with pytest.raises(InputError, match=r"its certificate is not trusted \(self.signed certificate\)"):
        next(open_source(secured.address, SourceSettings(library=library)).frames())
    for settings in (
        SourceSettings(library=library, tls_authorities=certificate),
        SourceSettings(library=library, tls_verify=False),
    ):
        assert next(open_source(secured.address, settings).frames()).image.shape == (240, 320, 3)
