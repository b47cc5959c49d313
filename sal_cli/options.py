"""Exit codes, options that several commands share, and what follows from options before any work starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

import typer

from sal_cli.completion import complete_dataset
from sal_runtime.errors import ConfigError, InputError

if TYPE_CHECKING:
    from sal_runtime.engines.devices import DeviceChoice
    from sal_runtime.gallery.items import ItemFilter
    from sal_train.datasets import SearchDataset

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_CODES = (
    f"Exit codes: 0 done; {EXIT_FAILED} failed, or done with failures; {EXIT_USAGE} wrong usage or bad input; "
    f"{EXIT_INTERRUPTED} interrupted by Ctrl-C."
)

FILTERS, COMPUTE, OUTPUT = "Filters", "Where to compute", "Output"
"""Groups of options in the help."""

PrecisionChoice = Literal["fp32", "fp16", "int8"]
"""`sal_runtime.arrays.Precision`, which is not imported because that loads numpy for every help text."""

BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        "-b",
        help="The trained encoders. Default: $SAL_BUNDLE, else the bundle that made the gallery, else the shipped one.",
    ),
]
ShippedBundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", "-b", help="The trained encoders. Default: $SAL_BUNDLE, else the shipped bundle."),
]
DeviceOption = Annotated[
    Literal["cpu", "cuda", "trt", "auto"] | None,
    typer.Option(
        "--device",
        rich_help_panel=COMPUTE,
        help="Compute on this device, or fail; auto takes the first of trt, cuda and cpu that works, and says which. "
        "Default: cpu.",
    ),
]
PrecisionOption = Annotated[
    PrecisionChoice | None,
    typer.Option(
        "--precision",
        rich_help_panel=COMPUTE,
        help="Encode images in this arithmetic. Default: the gallery's, or fp32 for a new gallery.",
    ),
]
CapabilityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--compute-capability",
        metavar="X.Y",
        rich_help_panel=COMPUTE,
        help="Build engines for GPUs that this machine need not have (TensorRT-RTX only); repeatable. "
        "Default: this machine's GPU.",
    ),
]
CameraOption = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        metavar="NAME",
        rich_help_panel=FILTERS,
        help="Take only images of this camera; repeatable, for images of any of several cameras.",
    ),
]
TrackOption = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME",
        rich_help_panel=FILTERS,
        help="Take only images of this track; repeatable, for images of any of several tracks.",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MOMENT",
        rich_help_panel=FILTERS,
        help="Take only images captured at this moment or later. A moment is 2026-11-23T14:00 (local time, or in "
        "another zone with +01:00 at its end), today, yesterday, or an age such as -2h or -7d.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="MOMENT", rich_help_panel=FILTERS, help="Take only images captured before this moment."
    ),
]
MetadataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--meta",
        metavar="KEY=VALUE",
        rich_help_panel=FILTERS,
        help="Take only images with this metadata; repeatable: an image must match every key, by any of its values.",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=OUTPUT, help="Print one JSON document on stdout and nothing else there."),
]
DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        metavar="DATASET",
        autocompletion=complete_dataset,
        help="The data set: market1501, peta, pa100k, street (the first two), or your own folder or table.",
    ),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="The folder that holds the data set. Default: the current folder.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Keep decoded images in this folder between runs. Default: $XDG_CACHE_HOME/sal or ~/.cache/sal."
    ),
]


def refuse_options(given: Mapping[str, object], reason: str) -> None:
    """Refuse options that cannot take effect.

    Args:
        given: values by option; None, False and empty lists are options that were not given.
        reason: why they cannot take effect, and what to do; ends the message.

    Raises:
        ConfigError: an option was given.
    """
    useless = [option for option, value in given.items() if value is not None and value is not False and value != []]
    if useless:
        raise ConfigError(f"{', '.join(useless)} cannot take effect: {reason}")


def check_precisions(option: str, precisions: Sequence[str] | None) -> list[PrecisionChoice]:
    """The precisions that a repeatable option gives.

    Args:
        option: that gave them, such as `--precision`.
        precisions: the words after it; None where it was not given.

    Raises:
        ConfigError: a word is not a precision.
    """
    return cast("list[PrecisionChoice]", check_words(option, precisions, get_args(PrecisionChoice)))


def check_words(option: str, words: Sequence[str] | None, choices: Sequence[str]) -> list[str]:
    """The words that a repeatable option gives; typer checks choices only where one is taken.

    Args:
        option: that gave them.
        words: the words after it; None where it was not given.
        choices: the words that it takes.

    Raises:
        ConfigError: a word is not among the choices.
    """
    for word in words or ():
        if word not in choices:
            raise ConfigError(f"{option} {word}: expected one of {', '.join(choices)}")
    return list(words or ())


def cache_or_default(cache: Path | None) -> Path:
    """The folder for decoded images; it may not exist yet.

    Raises:
        SalError: no folder was given, and there is no home directory for the default.
    """
    from sal_runtime.files import cache_folder

    if cache is None:
        return cache_folder()
    from sal_train.images.cache import expanded

    return expanded(cache)


def let_waiting_threads_sleep() -> None:
    """Let threads of PyTorch sleep while they wait for others; call this before PyTorch is imported.

    By default they wait in a loop. Beside other work on the same cores, training then takes ten times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def multiply_in_one_thread() -> None:
    """Let numpy multiply in the calling thread; call this before numpy is imported.

    Rankings run threads of their own, and all else in a search is small: threads of BLAS would only wait in a loop.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def dataset_from(dataset: str, data: Path | None) -> SearchDataset:
    """The data set that `--dataset` and `--data` name.

    Raises:
        ConfigError: `--data` was given, but the data set is found without it.
        InputError: there is no such data set, or it breaks its protocol.
    """
    from sal_train.datasets.load import PUBLISHED, load_dataset

    if dataset not in PUBLISHED and Path(dataset).exists():
        refuse_options({"--data": data}, f"{dataset} is found without it; leave it out")
    return load_dataset(dataset, data or Path())


def item_filter(
    camera: list[str] | None,
    track: list[str] | None,
    captured_from: str | None,
    until: str | None,
    metadata: list[str] | None,
) -> ItemFilter:
    """The filter that options describe.

    Raises:
        InputError: a moment or a KEY=VALUE cannot be understood, or a text is not UTF-8.
    """
    from sal_runtime.gallery.items import ItemFilter

    check_texts({"--camera": camera, "--track": track})
    wanted: dict[str, list[str]] = {}
    for key, value in key_values(metadata):
        wanted.setdefault(key, []).append(value)
    return ItemFilter(camera or (), track or (), _seconds(captured_from), _seconds(until), wanted)


def _seconds(moment: str | None) -> float | None:
    if moment is None:
        return None
    from sal_runtime.gallery.moments import parse_moment

    return parse_moment(moment)


def key_values(options: list[str] | None) -> list[tuple[str, str]]:
    """The pairs that `KEY=VALUE` options give.

    Raises:
        InputError: an option has no key or no `=`, or is not UTF-8.
    """
    check_texts({"--meta": options})
    pairs = [option.partition("=") for option in options or ()]
    wrong = [key + sign for key, sign, _ in pairs if not key or not sign]
    if wrong:
        raise InputError(f"--meta {wrong[0]}: expected KEY=VALUE, such as zone=north")
    return [(key, value) for key, _, value in pairs]


def check_texts(options: Mapping[str, Sequence[str] | None]) -> None:
    """Refuse texts that no gallery can hold.

    Args:
        options: the texts by option.

    Raises:
        InputError: a text holds bytes that are not UTF-8.
    """
    for option, texts in options.items():
        for text in texts or ():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InputError(f"{option} {text!r}: is not UTF-8 text; give it in UTF-8") from None


def print_choice(asked: str | None, choice: DeviceChoice | None) -> None:
    """Say on stderr, in one line, which device `--device auto` took and why; nothing for any other request."""
    if asked == "auto" and choice is not None:
        print(f"sal: --device auto took {choice.device}: {choice.reason}", file=sys.stderr)
