"""What a filter means, in the plainest way; filters of every kind of gallery are compared with it."""

from __future__ import annotations

from sal_runtime.gallery.items import GalleryItem, ItemFilter


def matches(where: ItemFilter | None, item: GalleryItem) -> bool:
    """Whether an item fulfils every condition."""
    if where is None:
        return True
    if where.cameras and item.camera not in where.cameras:
        return False
    if where.tracks and item.track not in where.tracks:
        return False
    if where.captured_from is not None and (item.captured_at is None or item.captured_at < where.captured_from):
        return False
    if where.captured_until is not None and (item.captured_at is None or item.captured_at >= where.captured_until):
        return False
    if any(item.metadata.get(key) in values for key, values in where.without_metadata.items()):
        return False
    return all(item.metadata.get(key) in values for key, values in where.metadata.items())
