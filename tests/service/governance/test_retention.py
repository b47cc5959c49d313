"""Retention: each camera's images go when they are due, and the log says so before they do."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_service.governance import retention as module
from sal_service.governance.audit import AuditError, AuditLog, read_lines, verify_log
from sal_service.governance.policy import Policy
from sal_service.governance.retention import due, purge_due
from tests.runtime.made_up_items import unit_vectors
from tests.runtime.tiny_bundle import make_tiny_bundle

DAY = 86400.0
NOW = 1_760_000_000.0  # before the clock of any test: an image without a moment is as old as its item
POLICY = Policy(days=30, camera_days={"door": 7, "yard": 60})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture
def gallery(bundle: Bundle, tmp_path: Path) -> Gallery:
    """Images of three cameras and of none, 5, 10, 40 and 70 days old, and one of which no moment is known."""
    items = [
        GalleryItem(f"{camera}-{days}.jpg", content_hash=f"{camera}{days}", camera=camera, captured_at=NOW - days * DAY)
        for camera in ("door", "yard", "gate", None)
        for days in (5, 10, 40, 70)
    ]
    made = Gallery.create(tmp_path / "people.sal", bundle)
    made.add(
        [*items, GalleryItem("new.jpg", camera="door")], unit_vectors(len(items) + 1, bundle.embedding_dim, seed=1)
    )
    return made


EXPECTED = {
    "door": ["door-10.jpg", "door-40.jpg", "door-70.jpg"],
    "yard": ["yard-70.jpg"],
    "gate": ["gate-40.jpg", "gate-70.jpg"],
    None: ["None-40.jpg", "None-70.jpg"],
}


def test_what_is_due(gallery: Gallery) -> None:
    found = {camera: [item.uri for item in items] for camera, items in due(gallery, POLICY, NOW).items()}
    assert found == EXPECTED
    assert due(gallery, Policy(), NOW) == {}
    only_door = due(gallery, Policy(camera_days={"door": 60}), NOW)
    assert {camera: [item.uri for item in items] for camera, items in only_door.items()} == {"door": ["door-70.jpg"]}


def test_what_is_due_goes_and_is_logged(gallery: Gallery, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.log")
    removed = purge_due(gallery, POLICY, NOW, audit)
    assert sorted(removed) == sorted(uri for uris in EXPECTED.values() for uri in uris)
    left = {item.uri for item in gallery.all_items()}
    assert left & set(removed) == set()
    assert len(left) == 17 - len(removed)
    lines = read_lines(audit.path)
    assert verify_log(audit.path, audit.head).ok
    assert {(line.who, line.action) for line in lines} == {("retention", "retention")}
    by_camera = {line.what["camera"]: line for line in lines}
    assert {camera: line.what["uris"] for camera, line in by_camera.items()} == EXPECTED
    assert by_camera["door"].why == "older than 7 days"
    assert by_camera["door"].what["before"] == "2025-10-02T08:53:20.000000Z"
    assert by_camera["door"].what["gallery"] == "people.sal"
    assert purge_due(gallery, POLICY, NOW, audit) == []
    assert len(read_lines(audit.path)) == 4


def test_a_line_names_a_thousand_counts_all_and_has_the_hash_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NAMED", 2)
    digest = hashlib.sha256(b"a\nb\nc\n").hexdigest()
    expected = {"images": 3, "uris": ["a", "b"], "uris_sha256": digest}
    assert module.removed_images(["a", "b", "c"]) == expected


def test_nothing_is_removed_without_a_line(gallery: Gallery, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.log")
    audit.path.unlink()
    with pytest.raises(AuditError):
        purge_due(gallery, POLICY, NOW, audit)
    assert len(gallery) == 17


def test_a_kill_between_the_line_and_the_removal_is_made_up_for(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = AuditLog(tmp_path / "audit.log")
    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "remove", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            purge_due(gallery, POLICY, NOW, audit)
    assert len(purge_due(gallery, POLICY, NOW, audit)) == 8
    assert len(read_lines(audit.path)) == 8
