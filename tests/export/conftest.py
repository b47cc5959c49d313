"""Bundles that exports are made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from tests.runtime.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module", params=["tiny", "shipped"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    if request.param == "shipped":
        return open_bundle(default_bundle_path())
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path / "bundle"))
