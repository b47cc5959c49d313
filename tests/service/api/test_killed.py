"""A service that is killed under load loses nothing that it acknowledged, and undoes none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.service_torture import ServiceTorture


@pytest.mark.slow
def test_a_service_that_is_killed_three_times_keeps_its_word(tmp_path: Path) -> None:
    with ServiceTorture(tmp_path, seed=0) as torture:
        for _ in range(3):
            torture.kill()
        torture.finish()
    assert torture.counts["kills under load"] == 3
    assert torture.counts["acknowledged add"] > 10
    assert torture.counts["acknowledged search"] > 10
    assert torture.counts["messages received"] > 0
