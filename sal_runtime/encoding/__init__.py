"""Encodes images and attribute vectors as unit vectors of the common space.

encoders.py  the two encoders of a bundle
pipeline.py  reads and encodes in bulk, on all cores, in order, in bounded memory
bulk.py      the same for programs that embed the runtime
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.encoding.bulk import EncodedImages as EncodedImages
    from sal_runtime.encoding.bulk import FailedImage as FailedImage
    from sal_runtime.encoding.bulk import encode_images as encode_images
    from sal_runtime.encoding.encoders import AttributeEncoder as AttributeEncoder
    from sal_runtime.encoding.encoders import ImageEncoder as ImageEncoder
    from sal_runtime.encoding.encoders import bulk_image_encoder as bulk_image_encoder
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "encoders": ("AttributeEncoder", "ImageEncoder", "bulk_image_encoder"),
            "bulk": ("EncodedImages", "FailedImage", "encode_images"),
        },
    )
