"""A service as a process: how it begins and ends."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from sal_runtime.gallery.gallery import Gallery
from sal_service.api.service import Service, ServiceSettings
from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.service.api.running import RunningService
from tests.service.watches.watched import watch_for


def test_a_service_that_is_stopped_closes_what_it_holds(tmp_path: Path) -> None:
    """SIGTERM ends it in order: the last one to close a file of SQLite removes the log beside it."""
    bundle = make_calibrated_bundle(tmp_path / "tiny.bundle")
    service = RunningService(tmp_path, [tmp_path / "yard.sal"], ["--bundle", bundle]).wait_until_ready()
    assert (service.state / "watches.sqlite-wal").exists()
    assert service.stop() == 0
    assert not (service.state / "watches.sqlite-wal").exists()
    assert not (tmp_path / "yard.sal-wal").exists()


def test_images_that_were_removed_while_no_service_ran_are_told_of_no_more(tmp_path: Path) -> None:
    """Or by a process that was killed before it forgot what had been told of them."""
    bundle, path = make_calibrated_bundle(tmp_path / "tiny.bundle"), tmp_path / "yard.sal"
    settings = ServiceSettings({"yard": path}, tmp_path / "state", bundle=bundle)
    with Service(settings) as service:
        now = time.time()
        watch = watch_for("hat", 0.0, created_at=now, expires_at=now + 1000)
        service.board.add(watch)
        for number in range(2):
            picture = np.full((32, 16, 3), 40 + number, np.uint8)
            submit = service.galleries["yard"].ingest.intake.submit
            submit(picture, camera="door", captured_at=now + number, track=str(number)).result(60)
        gone, kept = (message.uri for message in service.store.messages(watch.id))
    with Gallery.open(path, "w") as gallery:
        gallery.remove([gone])
    with Service(settings) as service:
        assert [message.uri for message in service.store.messages(watch.id)] == [kept]
        assert list(service.store.open_tracks()) == [(watch.id, "door", "0")]
    files = [file for file in settings.state.glob("watches.sqlite*") if gone.encode() in file.read_bytes()]
    assert files == []
