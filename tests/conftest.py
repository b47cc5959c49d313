"""Fixtures for tests on whole data sets, and their mark `slow`; `tests.research_data` says where the data are."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from sal_runtime.engines.installed import forbid_telemetry
from tests.research_data import find_data

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore Ctrl-C, and so do their children
forbid_telemetry()  # tests import ONNX Runtime themselves

DATA_FIXTURES = {"market1501_root", "peta_root"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests on whole data sets as slow: `make check` leaves them out."""
    for item in items:
        if DATA_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def market1501_root() -> Path:
    """The folder `Market-1501`, read only."""
    return find_data("Market-1501", "market1501.tar")


@pytest.fixture(scope="session")
def peta_root() -> Path:
    """The folder `PETA`, read only."""
    return find_data("PETA", "peta.tar")
