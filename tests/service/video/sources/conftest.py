"""A simulated camera for the tests of this folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.service.video import simulated_camera
from tests.service.video.simulated_camera import Line, SimulatedCamera
from tests.service.video.sources.test_live import until


@pytest.fixture(scope="session")
def shared_camera() -> Iterator[SimulatedCamera]:
    """A camera, switched on; with more frames a second, libraries are sooner sure what they read."""
    if reason := simulated_camera.missing():
        pytest.skip(reason)
    with SimulatedCamera(rate=15) as camera:
        yield camera


@pytest.fixture
def camera(shared_camera: SimulatedCamera) -> Iterator[SimulatedCamera]:
    """A camera, switched on, and no thread of ours left behind at the end."""
    shared_camera.start()  # a test that failed may have left it off
    yield shared_camera
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("sal ")])


@pytest.fixture
def line(camera: SimulatedCamera) -> Iterator[Line]:
    """A network line to the camera."""
    with Line(camera.port) as line:
        yield line
