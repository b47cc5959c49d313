"""The bundle, and the precision of its image encoder, that a gallery is used with where the caller names none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Precision
from sal_runtime.bundle.shipped import ENVIRONMENT_VARIABLE, default_bundle_path
from sal_runtime.errors import InputError

if TYPE_CHECKING:
    from sal_runtime.gallery.gallery import Gallery


def choose_bundle_path(named: Path | str | None, gallery: Gallery | None = None) -> Path:
    """The bundle to use: the named one, else that of $SAL_BUNDLE, else the gallery's own, else the shipped one.

    Args:
        named: the caller's choice, if any.
        gallery: open; None where there is none yet.

    Raises:
        BundleError: there is none at all.
    """
    chosen = named or os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen)
    if gallery is not None and (recorded := Path(gallery.meta["bundle_path"])).exists():
        return recorded
    return default_bundle_path()


def choose_precision(asked: Precision | None, gallery: Gallery | None) -> Precision:
    """The precision to encode images in: that of the gallery, else the one asked for, else fp32.

    Args:
        asked: the caller's choice, if any.
        gallery: open; None where there is none yet.

    Raises:
        InputError: the gallery was made in another precision than the one asked for.
    """
    if gallery is None:
        return asked or "fp32"
    if asked not in (None, gallery.precision):
        raise InputError(
            f"gallery {gallery.path}: its images were encoded in {gallery.precision}, asked for {asked}; ask for no "
            "precision, or encode the gallery anew",
            parameter="gallery_precision",
        )
    return gallery.precision
