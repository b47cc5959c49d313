"""A data set by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from sal_train.datasets.market1501 import load_market1501
from sal_train.datasets.pa100k import load_pa100k
from sal_train.datasets.peta import load_peta
from sal_train.datasets.splits import SearchDataset
from sal_train.datasets.street import NAMES, load_street
from sal_train.datasets.table import load_table

PUBLISHED: Mapping[str, Callable[[Path], SearchDataset]] = {
    "market1501": load_market1501,
    "peta": load_peta,
    "pa100k": load_pa100k,
    **{name: partial(load_street, name=name) for name in NAMES},
}


def load_dataset(name: str, root: Path) -> SearchDataset:
    """Load a data set and check its protocol.

    Args:
        name: `market1501`, `peta`, `pa100k`, `street` (the first two in one vocabulary), `street+pa100k` (all three),
            `street-pa100k` (PA-100K alone in that vocabulary), or your own data: a folder, or a table such as a .csv or
            .jsonl file (see docs/data.md).
        root: folder that holds `Market-1501/`, `PETA/` or `PA-100K/`; a relative path of your own data may start here.

    Raises:
        InputError: files are missing, or are not those of the published data.
    """
    if name in PUBLISHED:
        source = {"dataset": name, "data": str(root.resolve())}
        return dataclasses.replace(PUBLISHED[name](root), source=source)
    own = Path(name) if Path(name).exists() else root / name
    return dataclasses.replace(load_table(own), source={"dataset": str(own.resolve())})
