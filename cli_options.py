"""Options and exit codes that several commands share."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sal_runtime.backends import DeviceChoice

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
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
DatasetOption = Annotated[
    str, typer.Option("--dataset", help="market1501, peta, or your own folder or .csv/.jsonl file.")
]
DataOption = Annotated[Path, typer.Option("--data", help="Folder that holds the data set.")]


def print_choice(asked: str, choice: DeviceChoice | None) -> None:
    """Say on stderr, in one line, what `--device auto` took and why; nothing for a device that was asked for."""
    if asked == "auto" and choice is not None:
        print(f"sal: --device auto took {choice.device}: {choice.reason}", file=sys.stderr)
