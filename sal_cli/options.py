"""Options and exit codes that several commands share."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sal_runtime.engines.devices import DeviceChoice
    from sal_runtime.gallery.items import ItemFilter

EXIT_FAILED = 1
EXIT_USAGE = 2


class Precision(StrEnum):
    """Of an image encoder's arithmetic."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle", "-b", help="Trained encoders. Default: $SAL_BUNDLE, else the gallery's own, else the shipped ones."
    ),
]
DeviceOption = Annotated[
    Literal["cpu", "cuda", "trt", "auto"],
    typer.Option(
        "--device",
        help="Where to compute. Nothing else is used in its place; auto takes the first of trt, cuda and cpu that can "
        "be had, and says which.",
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="Images are encoded in. Default: that of the gallery, or fp32 for a new one."),
]
CapabilityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--compute-capability",
        metavar="X.Y",
        help="Build engines for GPUs that need not be here (TensorRT-RTX only); may be repeated. Default: this GPU.",
    ),
]
CameraOption = Annotated[
    list[str] | None, typer.Option("--camera", help="Only images of this camera; may be repeated, any of them.")
]
TrackOption = Annotated[list[str] | None, typer.Option("--track", help="Only images of this track; may be repeated.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", help="Only images captured at this moment or later: ISO 8601, such as 2026-11-23T14:00."),
]
UntilOption = Annotated[str | None, typer.Option("--until", help="Only images captured before this moment.")]
MetadataOption = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=VALUE", help="Only images with this; may be repeated: any value, every key."),
]
ApproximateOption = Annotated[
    bool, typer.Option("--approximate", help="Let the index of `sal gallery index` propose; some hits can be missed.")
]
LikelihoodOption = Annotated[
    float | None,
    typer.Option(
        "--min-likelihood", min=0, max=1, help="Leave out hits whose calibrated likelihood of match, 0 to 1, is lower."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
DatasetOption = Annotated[
    str, typer.Option("--dataset", help="market1501, peta, market1501+peta, or your own folder or .csv/.jsonl file.")
]
CacheOption = Annotated[
    Path, typer.Option("--cache", help="Where decoded images are kept between runs.", show_default="~/.cache/sal")
]
DataOption = Annotated[Path, typer.Option("--data", help="Folder that holds the data set.")]


def item_filter(
    camera: list[str] | None,
    track: list[str] | None,
    captured_from: str | None,
    until: str | None,
    metadata: list[str] | None,
) -> ItemFilter:
    """The filter that options describe.

    Raises:
        InputError: a moment or a KEY=VALUE cannot be understood.
    """
    from sal_runtime.gallery.items import ItemFilter
    from sal_runtime.gallery.moments import parse_moment

    asked: dict[str, list[str]] = {}
    for key, value in key_values(metadata):
        asked.setdefault(key, []).append(value)
    start = None if captured_from is None else parse_moment(captured_from)
    stop = None if until is None else parse_moment(until)
    return ItemFilter(camera or (), track or (), start, stop, asked)


def key_values(options: list[str] | None) -> list[tuple[str, str]]:
    """What `KEY=VALUE` options say.

    Raises:
        InputError: one has no key or no `=`.
    """
    from sal_runtime.errors import InputError

    pairs = [option.partition("=") for option in options or ()]
    wrong = [key + sign for key, sign, _ in pairs if not key or not sign]
    if wrong:
        raise InputError(f"--meta {wrong[0]}: expected KEY=VALUE, such as zone=north")
    return [(key, value) for key, _, value in pairs]


def print_choice(asked: str, choice: DeviceChoice | None) -> None:
    """Say on stderr, in one line, what `--device auto` took and why; nothing for a device that was asked for."""
    if asked == "auto" and choice is not None:
        print(f"sal: --device auto took {choice.device}: {choice.reason}", file=sys.stderr)
