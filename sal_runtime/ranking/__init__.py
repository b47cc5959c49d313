"""From query vectors and gallery vectors to the k best.

core.py         chunks, products and best candidates, for the exact rankings
exact.py        exact ranking by inner product, on all cores
scoring.py      exact ranking by a score that is a function of inner products
screened.py     exact ranking of many queries, screened with 8-bit codes first
codes.py        8-bit codes of vectors, and how much they leave out
bounded.py      exact ranking by codes in memory, with few vectors read
on_device.py    exact ranking on a GPU (experimental: has not run on one yet)
approximate.py  an approximate index for vectors that do not fit into memory
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.ranking.approximate import GalleryVersion as GalleryVersion
    from sal_runtime.ranking.approximate import build_index as build_index
    from sal_runtime.ranking.approximate import measure_recall as measure_recall
    from sal_runtime.ranking.approximate import open_index as open_index
    from sal_runtime.ranking.exact import top_k as top_k
    from sal_runtime.ranking.on_device import DeviceRanking as DeviceRanking
    from sal_runtime.ranking.scoring import Scoring as Scoring
    from sal_runtime.ranking.scoring import top_k_by_score as top_k_by_score
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "exact": ("top_k",),
            "on_device": ("DeviceRanking",),
            "scoring": ("Scoring", "top_k_by_score"),
            "approximate": ("GalleryVersion", "build_index", "measure_recall", "open_index"),
        },
    )
