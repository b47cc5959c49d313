"""The command `sal`: every command parses its options, calls one function and prints what it returns.

Imports stand inside the bodies, so that `sal search` never pays for (or needs) what training and export need.
Exit codes: 0 done, 1 failed or done with failures, 2 wrong usage or bad input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli_bench import bench_app
from cli_bundle import bundle_app
from cli_data import data_app
from cli_doctor import doctor
from cli_gallery import gallery_app
from cli_options import (
    EXIT_FAILED,
    EXIT_USAGE,
    ApproximateOption,
    BundleOption,
    CameraOption,
    CapabilityOption,
    DataOption,
    DatasetOption,
    DeviceOption,
    FromOption,
    JsonOption,
    LikelihoodOption,
    MetadataOption,
    Precision,
    PrecisionOption,
    TrackOption,
    UntilOption,
    item_filter,
    print_choice,
)
from sal_runtime.errors import BundleError, ConfigError, InputError, SalError, SchemaError

app = typer.Typer(
    name="sal",
    epilog='Start here: sal search --attrs "male,backpack,!hat" --gallery crops/',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(gallery_app, name="gallery", help="Look after gallery files: what is in them, and what leaves them.")
app.add_typer(data_app, name="data", help="Look at a data set before training on it, or draw one.")
app.add_typer(bundle_app, name="bundle", help="Look into a bundle, sign it, hand it to other inference servers.")
app.add_typer(bench_app, name="bench", help="Measure how fast a bundle is on this machine.")

CacheOption = Annotated[
    Path, typer.Option("--cache", help="Where decoded images are kept between runs.", show_default="~/.cache/sal")
]
app.command(epilog="See also: sal bench engine, docs/devices.md")(doctor)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command `sal`; turns errors into one line on stderr and an exit code.

    Args:
        arguments: without the program name; those of the process if None. `--debug` may stand anywhere.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        app(args=[argument for argument in given if argument != "--debug"], prog_name="sal")
    except Exception as error:
        if debug:
            raise
        is_ours = isinstance(error, SalError)
        text = " ".join(str(error).split()) if is_ours else f"{type(error).__name__}: {error} (--debug shows where)"
        from sal_runtime.terminal import printable

        print(f"sal: error: {printable(text)}", file=sys.stderr)
        bad_input = isinstance(error, InputError | SchemaError | ConfigError | BundleError)
        sys.exit(EXIT_USAGE if bad_input else EXIT_FAILED)


def _print_version(wanted: bool) -> None:
    if wanted:
        from sal_runtime import __version__

        print(f"sal {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from (may stand anywhere).")] = False,
) -> None:
    """Find people by description: train, export and search with attribute encoders."""


@app.command(epilog="See also: sal gallery status crops/")
def search(  # noqa: PLR0913 - one parameter is one option
    attrs: Annotated[str, typer.Option("--attrs", "-a", help="Description, e.g. male,backpack,!hat,upper=red|pink")],
    gallery: Annotated[
        str,
        typer.Option(
            "--gallery", "-g", help="A folder of person crops, a gallery file, or http://HOST:19530/COLLECTION."
        ),
    ],
    bundle: BundleOption = None,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="How many hits to show.")] = 20,
    camera: CameraOption = None,
    track: TrackOption = None,
    captured_from: FromOption = None,
    until: UntilOption = None,
    meta: MetadataOption = None,
    approximate: ApproximateOption = False,
    min_likelihood: LikelihoodOption = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a sheet of the hits for a browser.")] = None,
    grid: Annotated[Path | None, typer.Option("--grid", help="Write the hits as one JPEG.")] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the people of a gallery by a description.

    What the description does not mention may be anything. `,` is and, `!` is not, `|` is one of:

        sal search --attrs "female,!backpack,upper=red|pink" --gallery crops/

    Images can be left out before ranking, by camera, time and anything else that `sal gallery add` was told:

        sal search --attrs male,backpack --gallery yard.sal --camera door --from 2026-11-23T14:00 --meta zone=north

    A folder is encoded once; its vectors are kept in `crops.sal` beside it, and later searches only encode what is new
    or has changed. Images that cannot be read are named, the others are searched, and the exit code is 1.
    """
    from sal_runtime.person_search import search as search_gallery
    from sal_runtime.terminal import check_places, print_search, progress_bar

    check_places(html, grid)
    where = item_filter(camera, track, captured_from, until, meta)
    with progress_bar("encoding") as progress:
        result = search_gallery(
            bundle,
            gallery,
            attrs,
            k,
            where=where,
            approximate=approximate,
            device=device,
            precision=precision,
            progress=progress,
        )
    if min_likelihood is not None:
        result = result.likely(min_likelihood)
    print_choice(device, result.device)
    print_search(result, html, grid, as_json=as_json)
    if result.failed:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal eval --run RUN, sal export --run RUN, tensorboard --logdir RUN")
def train(
    dataset: DatasetOption,
    out: Annotated[Path, typer.Option("--out", help="The run's folder; --resume continues the one that is there.")],
    data: DataOption = Path(),
    recipe: Annotated[str, typer.Option("--recipe", help="sal, edge, paper, deepmar, tiny, or a .toml file.")] = "sal",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue after an interruption, exactly.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    cache: CacheOption = Path("~/.cache/sal"),
) -> None:
    """Train the encoders on images with attributes.

    The recipe `sal` is the default; `paper` is the method as published. Both run on a CPU, a GPU, or several GPUs:

        sal train --dataset peta --data DATA --out runs/peta --set model.backbone=efficientnet_lite0

        torchrun --nproc-per-node=4 -m cli train --dataset market1501 --data DATA --out runs/market
    """
    from sal_train.checkpoint import MODEL_FILE
    from sal_train.datasets import load_dataset
    from sal_train.recipe import config_to_toml, load_config
    from sal_train.train import train as train_model

    config = load_config(recipe, settings or [])
    if dry_run:
        print(config_to_toml(config))
        return
    train_model(config, load_dataset(dataset, data), out, cache.expanduser(), resume=resume)
    print(out / MODEL_FILE)


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
    from sal_train.evaluate import Options, evaluate_and_print

    if attach and bundle is None:
        raise ConfigError("--attach needs --bundle: a run has no model card")
    options = Options(cache.expanduser(), device, partial, held_out, test_time, precision, seed)
    report = evaluate_and_print(bundle, run, load_dataset(dataset, data), options, out, as_json=as_json)
    if attach and bundle is not None:
        from sal_export.publish import attach_metrics

        attach_metrics(bundle, report)


@app.command("export", epilog="See also: sal eval --bundle BUNDLE, sal search --bundle BUNDLE")
def export_bundle(  # noqa: PLR0913 - one parameter is one option
    run: Annotated[Path, typer.Option("--run", help="Folder of a finished `sal train`.")],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write; one that is there is replaced whole.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="What the run was trained on; without it the gate runs on drawings.")
    ] = None,
    data: DataOption = Path(),
    precision: Annotated[
        list[Precision] | None, typer.Option("--precision", help="Of the image encoder, beside fp32; may be repeated.")
    ] = None,
    trt: Annotated[
        list[Precision] | None,
        typer.Option("--trt", help="Also build a TensorRT engine in this precision; may be repeated."),
    ] = None,
    compute_capability: CapabilityOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the bundle; default: that of the folder.")] = None,
    cache: CacheOption = Path("~/.cache/sal"),
) -> None:
    """Export a run to a bundle: image and attribute encoder in ONNX, with all that search needs.

    ONNX Runtime is compared with PyTorch on crops in batches of 1, 2, 3, 17, 64 and 65; if they differ, nothing is
    written. With the data set the gate runs on real crops and the likelihood of match is calibrated:

        sal export --run runs/peta --out bundles/peta --dataset peta --data DATA --precision fp16 --precision int8

    fp16 may lose 0.5 points of mAP and of rank-1 against fp32, int8 one point; otherwise, too, nothing is written.
    Engines (--trt) go into the engine store of this machine, never into the bundle; `sal bundle engine` builds them
    from a bundle.
    """
    from rich.console import Console

    from sal_export.package import artefacts_for, export_run
    from sal_runtime.bundle_engines import build_engines, check_engines_can_be_built, print_engines
    from sal_train.checkpoint import load_run
    from sal_train.datasets import load_dataset

    if trt:
        check_engines_can_be_built(compute_capability)
    trained_on = load_dataset(dataset, data) if dataset is not None else None
    console = Console(stderr=True)
    wanted = artefacts_for(precision or [], trt or [])
    bundle = export_run(load_run(run), out, trained_on, cache.expanduser(), console, name, wanted)
    print(bundle.path)
    if trt:
        print_engines(build_engines(bundle, [one.value for one in trt], compute_capability, console), as_json=False)


if __name__ == "__main__":
    main()
