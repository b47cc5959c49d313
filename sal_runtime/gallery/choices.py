"""Which bundle, and which precision of its image encoder, are used when none is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from sal_runtime.arrays import Precision
from sal_runtime.bundle.shipped import ENVIRONMENT_VARIABLE, default_bundle_path
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery


def choose_bundle_path(named: Path | str | None, gallery_path: Path | None = None) -> Path:
    """The bundle to use: the one named, else that of $SAL_BUNDLE, else that of the gallery, else the shipped one.

    Args:
        named: by the caller, if any.
        gallery_path: of a gallery file that may or may not exist.

    Raises:
        BundleError: there is none at all.
        InputError: the gallery file is none.
    """
    chosen = named or os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen)
    if gallery_path is not None and gallery_path.is_file():
        with Gallery.open(gallery_path) as gallery:
            recorded = Path(gallery.meta["bundle_path"])
        if recorded.exists():
            return recorded
    return default_bundle_path()


def choose_precision(asked: Precision | None, gallery_path: Path) -> Precision:
    """The precision that images are encoded in: that of the gallery, else the one asked for, else fp32.

    Args:
        asked: by the caller, if any.
        gallery_path: of a gallery file that may or may not exist.

    Raises:
        InputError: the gallery was made in another precision than the one asked for, or is none.
    """
    if not gallery_path.is_file():
        return asked or "fp32"
    with Gallery.open(gallery_path) as gallery:
        made = cast(Precision, gallery.precision)
    if asked not in (None, made):
        raise InputError(
            f"gallery {gallery_path}: its images were encoded in {made}, asked for {asked}; leave --precision out, or "
            "move the gallery file away to encode them again"
        )
    return made
