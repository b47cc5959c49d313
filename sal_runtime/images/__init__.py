"""From bytes to a crop uint8 RGB `[H, W, 3]`.

spec.py     the size and form of the crops that a bundle takes
pixels.py   decoding and resizing
header.py   the size of an encoded image, and whether the file is whole, before it is decoded
sources.py  what can be encoded: files, bytes, arrays, boxes of a frame
folder.py   the image files of a folder
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.images.pixels import decode_image as decode_image
    from sal_runtime.images.pixels import load_image as load_image
    from sal_runtime.images.pixels import resize_image as resize_image
    from sal_runtime.images.sources import Colour as Colour
    from sal_runtime.images.sources import Crop as Crop
    from sal_runtime.images.sources import ImageSource as ImageSource
    from sal_runtime.images.spec import ImageSpec as ImageSpec
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "pixels": ("decode_image", "load_image", "resize_image"),
            "spec": ("ImageSpec",),
            "sources": ("Colour", "Crop", "ImageSource"),
        },
    )
