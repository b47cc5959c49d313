"""What an operator types to mend an error.

The library names the parameter at fault, because its callers write Python; the command adds the option that sets it.
"""

from __future__ import annotations

from sal_cli.extras import EXTRAS
from sal_runtime.errors import SalError, install

HINTS = {
    "approximate": "--approximate",
    "bundle": "--bundle",
    "by_track": "`sal gallery add yard.sal --table crops.csv`",
    "conditions": "--camera, --track, --from, --until, --meta",
    "data": "--data",
    "dataset": "--dataset",
    "device": "--device",
    "drop_missing": "--drop-missing",
    "expect": "--expect",
    "frame_rate": "frame_rate in a file for --cameras",
    "gallery": "`sal gallery add` makes and fills galleries",
    "gallery_bundle": "--bundle, or type `sal gallery reindex`",
    "gallery_precision": "leave out --precision, or type `sal gallery reindex --precision`",
    "held_out": "--held-out",
    "min_likelihood": "--min-likelihood",
    "out": "--out",
    "partial": "--no-partial",
    "precision": "--precision",
    "publish_passed": "--publish-passed",
    "recipe": "--recipe",
    "replace": "--replace",
    "resume": "--resume",
    "run": "--run",
    "settings": "--set",
    "where": "`sal gallery status` lists them",
    "words": "`sal bundle words`",
}
"""The words that are added to a message, by the parameter that the error names."""


def error_line(error: Exception) -> str:
    """The message of an error in one line, with what to type where that is known."""
    if isinstance(error, SalError):
        hint = HINTS.get(error.parameter or "")
        return " ".join(str(error).split()) + (f" ({hint})" if hint else "")
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        for name, extra in EXTRAS.items():
            if package in extra.modules:
                return f"{package} is not installed; {install(name)}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error} (--debug shows where)"
