"""The bundle that is shipped with sal."""

from __future__ import annotations

from pathlib import Path

from sal_runtime.errors import BundleError

SHIPPED_NAME = "edge"
ENVIRONMENT_VARIABLE = "SAL_BUNDLE"


def default_bundle_path() -> Path:
    """Path of the shipped bundle: inside the installed package, or in the repository that it runs from.

    Raises:
        BundleError: this installation contains none.
    """
    package = Path(__file__).resolve().parents[1]
    places = [parent / "bundles" / SHIPPED_NAME for parent in (package, package.parent)]
    for place in places:
        if (place / "manifest.json").is_file():
            return place
    raise BundleError(
        f"no bundle is named and this installation ships none (looked for {places[0]}); name a bundle, or set "
        f"${ENVIRONMENT_VARIABLE}"
    )
