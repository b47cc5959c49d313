"""The commands `sal data ...`: look at a data set before training on it, or draw one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import EXIT_FAILED, DataOption, DatasetOption, JsonOption

app = typer.Typer(
    help="Look at a data set before training on it, or draw one.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command(epilog="See also: sal data stats, docs/data.md")
def check(dataset: DatasetOption, data: DataOption = Path(), as_json: JsonOption = False) -> None:
    """Read every image and say what would spoil training: broken files, leaks, contradictory or constant attributes.

    sal data check --dataset my-crops/

    Exit code 1 if there are errors; warnings are for a person to judge.
    """
    from rich.console import Console

    from sal_cli.show.terminal import print_json
    from sal_train.datasets import load_dataset
    from sal_train.datasets.check import check_dataset, print_check

    report = check_dataset(load_dataset(dataset, data), Console(stderr=True))
    if as_json:
        print_json(report.to_json())
    else:
        print_check(report, Console())
    if report.has_errors:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal data check")
def stats(dataset: DatasetOption, data: DataOption = Path(), as_json: JsonOption = False) -> None:
    """Count images, people and categories, and say how often each attribute occurs.

    sal data stats --dataset market1501 --data DATA
    """
    from rich.console import Console

    from sal_cli.show.terminal import print_json
    from sal_train.datasets import load_dataset
    from sal_train.datasets.stats import dataset_statistics, print_dataset_statistics

    report = dataset_statistics(load_dataset(dataset, data))
    if as_json:
        print_json(report)
    else:
        print_dataset_statistics(report, Console())


@app.command(epilog="See also: sal train --recipe tiny --dataset drawn/ --out runs/drawn")
def synth(
    out: Annotated[Path, typer.Option("--out", help="The new folder.")],
    people: Annotated[int, typer.Option("--people", min=4, help="How many different people.")] = 200,
    images: Annotated[int, typer.Option("--images", min=1, help="How many images of each.")] = 4,
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same files.")] = 0,
) -> None:
    """Draw pedestrians with known attributes, so that you can train without downloading anything.

    sal data synth --out drawn/
    """
    from sal_train.datasets.synthetic import write_dataset

    print(write_dataset(out, people, images, seed))
