"""A gallery in a collection of Milvus, with the interface of a gallery file.

gallery.py     the gallery
collection.py  the collection: fields, properties, connection
expression.py  filters in Milvus's language
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.gallery.milvus.gallery import MilvusGallery as MilvusGallery
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "gallery": ("MilvusGallery",),
        },
    )
