"""A bundle with a calibration, and a yard that is watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sal_runtime.bundle.bundle import Bundle
from tests.service.watches.watched import Yard, calibrated_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return calibrated_bundle(tmp_path_factory.mktemp("bundle") / "tiny.bundle")


@pytest.fixture
def yard(tmp_path: Path, bundle: Bundle) -> Iterator[Yard]:
    yard = Yard(tmp_path, bundle)
    yield yard
    yard.close()
