"""The version of sal: a tag of the repository, as the installed package states it."""

from importlib.metadata import PackageNotFoundError, version


def _installed_version() -> str:
    try:
        return version("sal-person-search")
    except PackageNotFoundError:  # the files alone, without what an installation writes beside them
        return "0.0"


__version__ = _installed_version()
"""The version of the installed package; `0.0` where sal runs without having been installed."""
