"""The size and form of the crops that a bundle's image encoder takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sal_runtime.errors import BundleError

RESIZE_RULE = "linear-then-halve"
"""Name of what `resize_image` does, in the manifest of every bundle."""
LAYOUT = {"colour": "RGB", "layout": "NHWC", "dtype": "uint8", "resize": RESIZE_RULE}


@dataclass(frozen=True)
class ImageSpec:
    """Size of the images that an encoder takes: uint8 RGB `[N, height, width, 3]`, resized by `resize_image`.

    Attributes:
        height: pixels.
        width: pixels.
    """

    height: int
    width: int

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON for the manifest, with colour order, layout, dtype and resize rule."""
        return {"height": self.height, "width": self.width, **LAYOUT}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ImageSpec:
        """Read a spec from the form that `to_json` writes.

        Raises:
            BundleError: it asks for preprocessing that this version does not know.
        """
        different = {key: data.get(key) for key, value in LAYOUT.items() if data.get(key) != value}
        if different:
            raise BundleError(
                f"the bundle wants image preprocessing {different}, this version of sal does {LAYOUT}; "
                "export its run again"
            )
        return ImageSpec(int(data["height"]), int(data["width"]))
