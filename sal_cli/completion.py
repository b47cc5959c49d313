"""What a shell completes that is no command, no option, no choice and no file."""

from __future__ import annotations

import re


def complete_dataset(incomplete: str) -> list[str]:
    """The published data sets; where none fits, the shell completes files."""
    names = ("market1501", "peta", "pa100k", "street", "street+pa100k", "street-pa100k")
    return _fitting(incomplete, *names)


def complete_recipe(incomplete: str) -> list[str]:
    """The recipes that sal brings, and `auto`, which chooses one."""
    from importlib.resources import files

    names = sorted(file.name for file in files("sal_train.recipes").iterdir())
    return _fitting(incomplete, "auto", *(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def complete_precision(incomplete: str) -> list[str]:
    """Precisions, for options that collect several."""
    return _fitting(incomplete, "fp32", "fp16", "int8")


def complete_device(incomplete: str) -> list[str]:
    """Devices, for options that collect several."""
    return _fitting(incomplete, "cpu", "cuda", "trt")


def complete_training_device(incomplete: str) -> list[str]:
    """Devices that train."""
    return _fitting(incomplete, "cpu", "cuda", "auto")


def complete_role(incomplete: str) -> list[str]:
    """What a token may do."""
    return _fitting(incomplete, "search", "ingest", "admin")


def complete_words(incomplete: str) -> list[str]:
    """A description: its last word is completed with the words of the bundle that a search takes by default."""
    from sal_runtime.bundle.bundle import open_bundle
    from sal_runtime.errors import SalError
    from sal_runtime.gallery.choices import choose_bundle_path

    start = re.split("[,|!=]", incomplete)[-1]
    try:
        schema = open_bundle(choose_bundle_path(None)).schema
    except SalError:  # nothing may be printed in the middle of a line
        return []
    return [incomplete.removesuffix(start) + word for word in _fitting(start, *sorted(schema.words))]


def _fitting(incomplete: str, *words: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
