"""A service as a process: how it begins and ends."""

from __future__ import annotations

from pathlib import Path

from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.service.api.running import RunningService


def test_a_service_that_is_stopped_closes_what_it_holds(tmp_path: Path) -> None:
    """SIGTERM ends it in order: the last one to close a file of SQLite removes the log beside it."""
    bundle = make_calibrated_bundle(tmp_path / "tiny.bundle")
    service = RunningService(tmp_path, [tmp_path / "yard.sal"], ["--bundle", bundle]).wait_until_ready()
    assert (service.state / "watches.sqlite-wal").exists()
    assert service.stop() == 0
    assert not (service.state / "watches.sqlite-wal").exists()
    assert not (tmp_path / "yard.sal-wal").exists()
