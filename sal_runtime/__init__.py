"""The runtime of sal: search a gallery of person crops by description. numpy, OpenCV and one engine library; no torch.

from sal_runtime import search

for hit in search("bundles/edge", "crops/", "male,backpack,!hat").hits:
    print(hit.rank, hit.uri, hit.score)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sal_runtime.errors import SalError

if TYPE_CHECKING:
    from sal_runtime.bundle import Bundle, open_bundle
    from sal_runtime.encode_images import encode_images
    from sal_runtime.encoders import AttributeEncoder, ImageEncoder, bulk_image_encoder
    from sal_runtime.gallery import Gallery
    from sal_runtime.gallery_items import GalleryItem
    from sal_runtime.image_sources import Crop
    from sal_runtime.images import load_image
    from sal_runtime.item_filter import ItemFilter
    from sal_runtime.person_search import PersonSearch, search
    from sal_runtime.query import parse_query

__version__ = "0.1.0"
__all__ = [
    "AttributeEncoder",
    "Bundle",
    "Crop",
    "Gallery",
    "GalleryItem",
    "ImageEncoder",
    "ItemFilter",
    "PersonSearch",
    "SalError",
    "bulk_image_encoder",
    "encode_images",
    "load_image",
    "open_bundle",
    "parse_query",
    "search",
]

_HOMES = {
    "AttributeEncoder": "encoders",
    "Bundle": "bundle",
    "Crop": "image_sources",
    "Gallery": "gallery",
    "GalleryItem": "gallery_items",
    "ImageEncoder": "encoders",
    "ItemFilter": "item_filter",
    "PersonSearch": "person_search",
    "bulk_image_encoder": "encoders",
    "encode_images": "encode_images",
    "load_image": "images",
    "open_bundle": "bundle",
    "parse_query": "query",
    "search": "person_search",
}


def __getattr__(name: str) -> Any:
    """Public names are imported on first use, so that `import sal_runtime` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sal_runtime' has no attribute {name!r}")
    return getattr(import_module(f"sal_runtime.{_HOMES[name]}"), name)
