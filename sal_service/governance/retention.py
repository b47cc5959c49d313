"""Removes images that are older than the policy allows, and says so in the audit log before it does."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_service.governance.audit import AuditLog
from sal_service.governance.audit_line import moment_from_seconds
from sal_service.governance.policy import Policy

MOST_NAMED = 1_000
"""How many images a line of the audit log names; it counts all, and has the hash of all names."""


def due(gallery: Gallery, policy: Policy, now: float) -> dict[str | None, list[GalleryItem]]:
    """The images that are older than the policy allows, by camera; None is an unknown one.

    The age of an image is counted from its capture or, where that is unknown, from when it was added.

    Args:
        gallery: open for reading or writing.
        policy: says how long.
        now: seconds since 1970, UTC.
    """
    found: dict[str | None, list[GalleryItem]] = {}
    for camera in policy.camera_days:
        seconds = policy.retention_seconds(camera)
        assert seconds is not None
        found[camera] = gallery.all_items(ItemFilter(cameras=[camera]), now - seconds)
    if policy.days is not None:
        for item in gallery.all_items(before=now - policy.days * 86400):
            if item.camera not in policy.camera_days:
                found.setdefault(item.camera, []).append(item)
    return {camera: items for camera, items in found.items() if items}


def purge_due(gallery: Gallery, policy: Policy, now: float, audit: AuditLog) -> list[str]:
    """Remove for good what is older than the policy allows; a line of the audit log for each camera says what.

    The lines are on the disk before anything is removed: a process that is killed in between removes it the next time.

    Args:
        gallery: open for writing.
        policy: says how long.
        now: seconds since 1970, UTC.
        audit: gets the lines, whose action is `retention`.

    Returns:
        The uris of what was removed.

    Raises:
        AuditError: the log could not be written; nothing was removed.
        SalError: writing failed, or a reader keeps the old bytes in use (see `Gallery.erase`).
    """
    removed = due(gallery, policy, now)
    for camera, items in removed.items():
        seconds = policy.retention_seconds(camera)
        assert seconds is not None
        what = {"gallery": gallery.path.name, "camera": camera, "before": moment_from_seconds(now - seconds)}
        reason = f"older than {seconds / 86400:g} days"
        audit.append("retention", "retention", reason, what | removed_images([item.uri for item in items]))
    uris = [item.uri for items in removed.values() for item in items]
    if uris:
        gallery.remove(uris)
    return uris


def removed_images(uris: Sequence[str]) -> dict[str, object]:
    """What a line of the audit log says of images that are removed: how many, the first thousand, and a hash of all.

    The hash is the SHA-256 of all uris in their order, with a line break after each.
    """
    digest = hashlib.sha256("".join(f"{uri}\n" for uri in uris).encode(errors="surrogatepass")).hexdigest()
    return {"images": len(uris), "uris": list(uris[:MOST_NAMED]), "uris_sha256": digest}
