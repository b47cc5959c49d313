"""The command `sal eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import (
    OUTPUT,
    CacheOption,
    DataOption,
    DatasetOption,
    DeviceOption,
    JsonOption,
    PrecisionChoice,
    cache_or_default,
    dataset_from,
    let_waiting_threads_sleep,
    refuse_options,
)
from sal_cli.parsing import CommandModule

app = CommandModule()


@app.command("eval", epilog="See also: sal train, sal export --run RUN --out BUNDLE")
def evaluate(  # noqa: PLR0913 - one parameter is one option
    dataset: DatasetOption,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="Measure the exported encoders of this bundle.")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="Measure the networks of this training run.")] = None,
    data: DataOption = None,
    partial: Annotated[bool, typer.Option(help="Also ask queries that leave attributes open.")] = True,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Search the training categories that the run held out.")
    ] = False,
    test_time: Annotated[
        bool, typer.Option("--test-time", help="Also rank with mirrored images, CSLS and the attribute head.")
    ] = False,
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option("--precision", help="Measure the bundle's image encoder in this arithmetic. Default: fp32."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draw completions and partial queries from this seed.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", rich_help_panel=OUTPUT, help="Also write the report to this file, as JSON."),
    ] = None,
    attach: Annotated[
        bool, typer.Option("--attach", help="Write the numbers into the bundle's manifest and model card.")
    ] = False,
    device: DeviceOption = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Measure a run or a bundle on the test split of a data set.

    The report has mAP and rank-k of full queries, for seen and unseen categories, beside ranking by attribute
    recognition alone; mAP of queries that give 1, 2, 3, 5, 10 and all attributes under each scoring rule; and the
    calibration of the likelihood. Choose settings with `--held-out`, never on the test split:

    ```
    sal eval --bundle bundles/edge --dataset street --data DATA \
        --out report.json
    ```
    """
    let_waiting_threads_sleep()
    from sal_cli.show.terminal import check_places, console
    from sal_train.evaluation.evaluate import Options, evaluate_and_print

    if run is not None and bundle is None:
        refuse_options({"--attach": attach}, "a run has no model card; measure its bundle with --bundle")
        refuse_options({"--precision": precision}, "a run computes in fp32; measure its bundle with --bundle")
    check_places(out)
    options = Options(cache_or_default(cache), device or "cpu", partial, held_out, test_time, precision or "fp32", seed)
    screen, steps = None if as_json else console(), console(stderr=True)
    report = evaluate_and_print(bundle, run, dataset_from(dataset, data), options, out, screen, steps)
    if attach and bundle is not None:
        from sal_export.publish import attach_metrics

        attach_metrics(bundle, report)
