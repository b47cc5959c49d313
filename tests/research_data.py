"""Research data for tests. The repository has none; tests whose data are missing are skipped.

`$SAL_DATA` names a folder that holds `Market-1501/` and `PETA/`, or the archives `market1501.tar` and `peta.tar`. If it
is not set, the folders `data` and `shared/data` beside the checkout are searched. Archives are unpacked once, into the
user's cache.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

from sal_runtime.files import cache_folder

BESIDE_THE_CHECKOUT = Path(__file__).parents[2]


def find_data(folder: str, archive_name: str, beside: Path = BESIDE_THE_CHECKOUT) -> Path:
    """Find the folder of a data set, or unpack it.

    Args:
        folder: name of the folder.
        archive_name: name of an archive that holds the folder.
        beside: folder whose `data` and `shared/data` are searched if `SAL_DATA` is not set.
    """
    named = os.environ.get("SAL_DATA")
    for place in [Path(named)] if named else [beside / "data", beside / "shared" / "data"]:
        if (place / folder).is_dir():
            return place / folder
        if (place / archive_name).is_file():
            return _unpack(place / archive_name) / folder
    if named:
        pytest.fail(f"SAL_DATA is {named}, which has neither a folder {folder} nor {archive_name}")
    pytest.skip(f"no research data: set SAL_DATA to a folder that holds {folder}/ or {archive_name}")


def _unpack(archive: Path) -> Path:
    """Unpack into a folder named by the archive's size and time, which appears when it is whole."""
    cache = cache_folder().with_name("sal-tests")
    status = archive.stat()
    unpacked = cache / f"{archive.stem}-{status.st_size}-{status.st_mtime_ns}"
    if unpacked.is_dir():
        return unpacked
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{archive.stem}-", dir=cache))
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    try:
        partial.rename(unpacked)
    except OSError:  # another worker was faster
        if not unpacked.is_dir():
            raise
        shutil.rmtree(partial)
    return unpacked
