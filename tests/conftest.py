"""Where tests find research data, and what they do without it: skip, saying why."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ARCHIVES = REPOSITORY.parent / "shared" / "data"
DATA_FIXTURES = {"market1501_root", "peta_root"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on whole data sets are slow ones: `make check` leaves them out."""
    for item in items:
        if DATA_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def market1501_root() -> Path:
    """The folder `Market-1501`, read only."""
    return _find_data("Market-1501", "market1501.tar")


@pytest.fixture(scope="session")
def peta_root() -> Path:
    """The folder `PETA`, read only."""
    return _find_data("PETA", "peta.tar")


def _find_data(folder: str, archive_name: str) -> Path:
    """A data set's folder: under $SAL_DATA if that is set, else unpacked from the archive beside the repository."""
    named = os.environ.get("SAL_DATA")
    if named:
        found = Path(named) / folder
        if not found.is_dir():
            pytest.fail(f"SAL_DATA is {named}, and there is no folder {folder} in it")
        return found
    archive = ARCHIVES / archive_name
    if not archive.is_file():
        pytest.skip(f"research data is not in the repository: set SAL_DATA to a folder that holds {folder}/")
    return _unpack(archive) / folder


def _unpack(archive: Path) -> Path:
    """Unpack outside the repository, once: into a folder whose name says which archive, renamed when it is whole."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sal-tests"
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
