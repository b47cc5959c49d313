"""An ingest that is killed loses nothing that it acknowledged, and leaves no picture without an item."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.ingest_torture import IngestTorture


@pytest.mark.slow
def test_20_killed_ingests_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    torture = IngestTorture(tmp_path, seed=0)
    for number in range(20):
        torture.round(number)
    assert torture.counts["rounds"] == 20
    assert torture.counts["acknowledged"] > 50
