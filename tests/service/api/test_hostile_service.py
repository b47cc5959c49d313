"""The hostile inputs against the whole service: none gets through, and its gallery holds what it held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sal_service.governance.audit import verify_log
from tests.service.api.hostile import Hostile, Target
from tests.service.api.test_hostile import KINDS, Quick, attack
from tests.service.api.whole_service import NUM_IMAGES, Whole, whole_service

SECRET = b"the secret beside what is served"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder: Path = tmp_path_factory.mktemp("service")
    (folder / "secret.txt").write_bytes(SECRET)
    with whole_service(folder, Quick) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_gets_through(whole: Whole, kind: Callable[[Target], Iterator[Hostile]]) -> None:
    attack(Target(whole.address, whole.tokens, whole.expired, "yard", SECRET), kind)
    assert len(whole.service.gallery("yard").gallery) == NUM_IMAGES
    assert verify_log(whole.service.audit.path).ok
