"""Images of people that can be searched, with their embeddings.

items.py     one image as a gallery knows it, and filters over images
protocol.py  what a search needs of a gallery, whatever keeps it
gallery.py   a gallery in one SQLite file
nearest.py   which ranking its vectors go through, and what is kept for the next one
comparing.py how image files differ from a gallery
update.py    bringing a gallery up to date with image files
folder.py    a gallery that follows a folder
adding.py    adding image files to a gallery that follows no folder
live.py      adding crops of live video as they arrive
reindex.py   encoding a gallery anew with another bundle
generations.py  a second file that takes the place of the first
index.py     the approximate index beside a gallery
status.py    what a gallery holds and what waits to be encoded
places.py    galleries by what people type
choices.py   which bundle and which precision a gallery is used with
moments.py   moments and ages as people write them
parquet.py   galleries as Parquet files
store/       the tables inside the SQLite file
milvus/      the same gallery in Milvus
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.gallery.adding import add_images as add_images
    from sal_runtime.gallery.comparing import UpdateReport as UpdateReport
    from sal_runtime.gallery.gallery import Gallery as Gallery
    from sal_runtime.gallery.items import GalleryItem as GalleryItem
    from sal_runtime.gallery.items import ItemFilter as ItemFilter
    from sal_runtime.gallery.items import Neighbours as Neighbours
    from sal_runtime.gallery.live import LiveEncoder as LiveEncoder
    from sal_runtime.gallery.parquet import export_gallery as export_gallery
    from sal_runtime.gallery.parquet import import_gallery as import_gallery
    from sal_runtime.gallery.protocol import SearchableGallery as SearchableGallery
    from sal_runtime.gallery.status import Status as Status
    from sal_runtime.gallery.status import read_status as read_status
    from sal_runtime.gallery.update import Capture as Capture
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "items": ("GalleryItem", "ItemFilter", "Neighbours"),
            "protocol": ("SearchableGallery",),
            "gallery": ("Gallery",),
            "update": ("Capture",),
            "comparing": ("UpdateReport",),
            "adding": ("add_images",),
            "live": ("LiveEncoder",),
            "parquet": ("export_gallery", "import_gallery"),
            "status": ("Status", "read_status"),
        },
    )
