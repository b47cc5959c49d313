"""Options and exit codes that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

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
    Literal["cpu", "cuda"], typer.Option("--device", help="Where to compute; nothing else is used in its place.")
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
