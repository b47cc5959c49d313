"""Encoding archives of crops on a cluster.

ray.py    an archive on Ray
parts.py  the parts that an archive is encoded in, each whole or absent
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.archive.ray import ArchiveReport as ArchiveReport
    from sal_runtime.archive.ray import encode_archive as encode_archive
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "ray": ("ArchiveReport", "encode_archive"),
        },
    )
