"""The commands `sal data ...`: look at a data set before training on it, or draw one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import EXIT_FAILED, DataOption, DatasetOption, JsonOption, dataset_from
from sal_cli.parsing import CommandModule

app = CommandModule(help="Look at a data set before training on it, or draw one.")


@app.command(epilog="See also: sal data stats, docs/data.md")
def check(dataset: DatasetOption, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Read every image and say what would spoil training: broken files, leaks, contradictory or constant attributes.

    Name your own folder or table, or the data set that `sal data synth` draws:

    ```
    sal data check --dataset drawn/
    ```

    Errors make the exit code 1; warnings are for a person to judge.
    """
    from sal_cli.show.terminal import console, print_json
    from sal_train.datasets.check import check_dataset, print_check

    report = check_dataset(dataset_from(dataset, data), console(stderr=True))
    if as_json:
        print_json(report.to_json())
    else:
        print_check(report, console())
    if report.has_errors:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal data check")
def stats(dataset: DatasetOption, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Count images, people and categories, and say how often each attribute occurs.

    All are counted for the training and the test split:

    ```
    sal data stats --dataset drawn/
    sal data stats --dataset market1501 --data DATA
    ```
    """
    from sal_cli.show.terminal import console, print_json
    from sal_train.datasets.stats import dataset_statistics, print_dataset_statistics

    report = dataset_statistics(dataset_from(dataset, data))
    if as_json:
        print_json(report)
    else:
        print_dataset_statistics(report, console())


@app.command(epilog="See also: sal train --recipe tiny --dataset drawn/ --out runs/drawn")
def synth(
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    people: Annotated[int, typer.Option("--people", min=4, help="Draw this many different people.")] = 200,
    images: Annotated[int, typer.Option("--images", min=1, help="Draw this many images of each person.")] = 4,
    seed: Annotated[int, typer.Option("--seed", help="The same seed draws the same files.")] = 0,
) -> None:
    """Draw pedestrians with known attributes, to train on without downloading anything.

    The recipe `tiny` is made for them:

    ```
    sal data synth --out drawn/
    ```
    """
    from sal_train.datasets.synthetic import write_dataset

    print(write_dataset(out, people, images, seed))
