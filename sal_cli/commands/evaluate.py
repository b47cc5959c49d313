"""The command `sal eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import (
    CacheOption,
    DataOption,
    DatasetOption,
    DeviceOption,
    JsonOption,
    Precision,
)
from sal_runtime.errors import ConfigError

app = typer.Typer(pretty_exceptions_enable=False)


@app.command("eval", epilog="See also: sal train, sal export --run RUN --out BUNDLE")
def evaluate(  # noqa: PLR0913 - one parameter is one option
    dataset: DatasetOption,
    bundle: Annotated[Path | None, typer.Option("--bundle", "-b", help="Measure a bundle's exported encoders.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Measure a training run.")] = None,
    data: DataOption = Path(),
    partial: Annotated[bool, typer.Option(help="Also ask queries that leave attributes open.")] = True,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Search the training categories the run held out, to choose settings.")
    ] = False,
    test_time: Annotated[
        bool, typer.Option("--test-time", help="Also rank with mirror images, CSLS and the attribute head.")
    ] = False,
    precision: Annotated[Precision, typer.Option(help="Of the bundle's image encoder.")] = Precision.fp32,
    seed: Annotated[int, typer.Option(help="Of the partial queries.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the report as JSON.")] = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="Write the numbers into the bundle's manifest and model card.")
    ] = False,
    device: DeviceOption = "cpu",
    cache: CacheOption = Path("~/.cache/sal"),
    as_json: JsonOption = False,
) -> None:
    """Measure a run or a bundle on the test split of a data set.

    mAP and rank-k of full queries, of seen and unseen categories, beside ranking by attribute recognition alone; mAP
    of queries that give 1, 2, 3, 5, 10 and all attributes under each scoring rule; calibration of the likelihood:

        sal eval --bundle market.sal --dataset market1501 --data DATA --out report.json
    """
    from sal_train.datasets import load_dataset
    from sal_train.evaluation.evaluate import Options, evaluate_and_print

    if attach and bundle is None:
        raise ConfigError("--attach needs --bundle: a run has no model card")
    options = Options(cache.expanduser(), device, partial, held_out, test_time, precision.value, seed)
    report = evaluate_and_print(bundle, run, load_dataset(dataset, data), options, out, as_json=as_json)
    if attach and bundle is not None:
        from sal_export.publish import attach_metrics

        attach_metrics(bundle, report)
