"""A trained model as one directory: manifest, encoders, heads, golden vectors.

bundle.py       opening and checking a bundle
calibration.py  from scores to the likelihood that a description fits
golden.py       whether an encoder gives the embeddings it is known to give
writing.py      writing a bundle
shipped.py      the bundle that comes with sal
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Artefact as Artefact
    from sal_runtime.bundle.bundle import Bundle as Bundle
    from sal_runtime.bundle.bundle import open_bundle as open_bundle
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "bundle": ("Artefact", "Bundle", "open_bundle"),
        },
    )
