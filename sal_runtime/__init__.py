"""The runtime of sal: search a gallery of person crops by description. numpy, OpenCV and one engine library; no torch.

    from sal_runtime import search

    for hit in search("crops/", "male,backpack,!hat"):
        print(hit.rank, hit.uri, hit.score)

The rooms, from the ground up; each may import those that stand before it:

errors.py, version.py, lazy.py, arrays.py, files.py  what every room stands on
query/                                               words to conditions on attributes
images/                                              bytes to crops
engines/                                             an .onnx file to `run(batch)` on a device
bundle/                                              a trained model as one directory
ranking/                                             vectors to the k best
encoding/                                            crops to unit vectors, one or millions
gallery/                                             images with their embeddings, in a file or in Milvus
matching/                                            a description to hits with their reasons
archive/                                             archives of crops, encoded on a cluster
doctor/                                              what works on this machine
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle as Bundle
    from sal_runtime.bundle.bundle import open_bundle as open_bundle
    from sal_runtime.encoding.bulk import EncodedImages as EncodedImages
    from sal_runtime.encoding.bulk import FailedImage as FailedImage
    from sal_runtime.encoding.bulk import encode_images as encode_images
    from sal_runtime.encoding.encoders import AttributeEncoder as AttributeEncoder
    from sal_runtime.encoding.encoders import ImageEncoder as ImageEncoder
    from sal_runtime.encoding.encoders import bulk_image_encoder as bulk_image_encoder
    from sal_runtime.engines.devices import DeviceChoice as DeviceChoice
    from sal_runtime.errors import BackendError as BackendError
    from sal_runtime.errors import BundleError as BundleError
    from sal_runtime.errors import BusyError as BusyError
    from sal_runtime.errors import ConfigError as ConfigError
    from sal_runtime.errors import InputError as InputError
    from sal_runtime.errors import ParityError as ParityError
    from sal_runtime.errors import ReindexedError as ReindexedError
    from sal_runtime.errors import SalError as SalError
    from sal_runtime.errors import SchemaError as SchemaError
    from sal_runtime.gallery.gallery import Gallery as Gallery
    from sal_runtime.gallery.items import GalleryItem as GalleryItem
    from sal_runtime.gallery.items import ItemFilter as ItemFilter
    from sal_runtime.gallery.live import LiveEncoder as LiveEncoder
    from sal_runtime.gallery.protocol import SearchableGallery as SearchableGallery
    from sal_runtime.images.pixels import load_image as load_image
    from sal_runtime.images.pixels import resize_image as resize_image
    from sal_runtime.images.sources import Colour as Colour
    from sal_runtime.images.sources import Crop as Crop
    from sal_runtime.images.sources import ImageSource as ImageSource
    from sal_runtime.images.spec import ImageSpec as ImageSpec
    from sal_runtime.matching.open_and_ask import search as search
    from sal_runtime.matching.person_search import PersonSearch as PersonSearch
    from sal_runtime.matching.result import AskedTerm as AskedTerm
    from sal_runtime.matching.result import Hit as Hit
    from sal_runtime.matching.result import SearchResult as SearchResult
    from sal_runtime.query.language import Query as Query
    from sal_runtime.query.language import parse_query as parse_query
    from sal_runtime.query.schema import AttributeSchema as AttributeSchema
    from sal_runtime.version import __version__ as __version__
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "bundle.bundle": ("Bundle", "open_bundle"),
            "encoding.bulk": ("EncodedImages", "FailedImage", "encode_images"),
            "gallery.live": ("LiveEncoder",),
            "encoding.encoders": ("AttributeEncoder", "ImageEncoder", "bulk_image_encoder"),
            "errors": (
                "BackendError",
                "BundleError",
                "BusyError",
                "ConfigError",
                "InputError",
                "ParityError",
                "ReindexedError",
                "SalError",
                "SchemaError",
            ),
            "engines.devices": ("DeviceChoice",),
            "gallery.gallery": ("Gallery",),
            "gallery.items": ("GalleryItem", "ItemFilter"),
            "gallery.protocol": ("SearchableGallery",),
            "images.pixels": ("load_image", "resize_image"),
            "images.spec": ("ImageSpec",),
            "images.sources": ("Colour", "Crop", "ImageSource"),
            "matching.open_and_ask": ("search",),
            "matching.person_search": ("PersonSearch",),
            "matching.result": ("AskedTerm", "Hit", "SearchResult"),
            "query.language": ("Query", "parse_query"),
            "query.schema": ("AttributeSchema",),
            "version": ("__version__",),
        },
    )
