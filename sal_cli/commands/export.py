"""The command `sal export`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from sal_cli.options import (
    EXIT_FAILED,
    CacheOption,
    CapabilityOption,
    DataOption,
    PrecisionChoice,
    cache_or_default,
    check_precisions,
    check_words,
    dataset_from,
    refuse_options,
)
from sal_cli.parsing import CommandModule
from sal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle

SourceOption = Annotated[
    Path | None,
    typer.Option("--bundle", "-b", help="A bundle to which --precision adds encoders, in place of --run."),
]
TrainedOnOption = Annotated[
    str | None,
    typer.Option("--dataset", help="The data set of the run. Without it the gate compares on drawn pedestrians."),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="The name of the bundle. Default: that of its folder without .bundle.")
]
PrecisionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="fp16|int8|int8-trt",
        help="Add an image encoder in this precision to the one in fp32; int8-trt is int8 for TensorRT, and making it "
        "needs no GPU. Repeatable.",
    ),
]
EnginesOption = Annotated[
    list[str] | None,
    typer.Option("--trt", metavar="fp32|fp16|int8", help="Also build a TensorRT engine in this precision; repeatable."),
]
PublishPassedOption = Annotated[
    bool,
    typer.Option(
        "--publish-passed",
        help="Where the gate refuses a precision, write the bundle without it; the exit code is 1 all the same.",
    ),
]
app = CommandModule()


@app.command("export", epilog="See also: sal eval --bundle BUNDLE, sal search --bundle BUNDLE")
def export_bundle(  # noqa: PLR0913 - one parameter is one option
    out: Annotated[Path, typer.Option("--out", help="The bundle to write; an existing bundle is replaced whole.")],
    run: Annotated[Path | None, typer.Option("--run", help="The folder of a finished `sal train`.")] = None,
    bundle: SourceOption = None,
    dataset: TrainedOnOption = None,
    data: DataOption = None,
    precision: PrecisionsOption = None,
    trt: EnginesOption = None,
    compute_capability: CapabilityOption = None,
    name: NameOption = None,
    publish_passed: PublishPassedOption = False,
    cache: CacheOption = None,
) -> None:
    r"""Export a run to a bundle: image and attribute encoder in ONNX, with all that search needs.

    ONNX Runtime is compared with PyTorch on crops in batches of 1, 2, 3, 17, 64 and 65; if they differ, no bundle is
    written. With the data set the gate runs on real crops and the likelihood of match is calibrated:

    ```
    sal export --run runs/peta --out peta.bundle \
        --dataset peta --data DATA --precision fp16 --precision int8
    ```

    The gate refuses a precision that loses more than 0.5 points (fp16) or 1 point (int8) of mAP or rank-1 against fp32;
    with fewer than 200 queries, only if chance does not explain the loss. Then no bundle is written, unless you give
    --publish-passed. Engines go into the engine store of this machine, never into the bundle; `sal bundle engine`
    builds them from a bundle. Where the run is not at hand, encoders are added to a bundle; all else in it stays:

    ```
    sal export --bundle market.bundle --out market.bundle \
        --dataset market1501 --data DATA --precision int8-trt
    ```
    """
    from sal_cli.show.terminal import console
    from sal_export.engines import check_engines_can_be_built
    from sal_export.package import artefacts_for

    engines = check_precisions("--trt", trt)
    choices = (*get_args(PrecisionChoice), "int8-trt")
    wanted = artefacts_for(check_words("--precision", precision, choices), engines)
    _check_source(run, bundle, name, dataset, wanted)
    if wanted == ["fp32"]:
        refuse_options({"--publish-passed": publish_passed}, "a bundle always has fp32; add --precision")
    if dataset is None:
        refuse_options({"--data": data, "--cache": cache}, "no data set is named; add --dataset")
    if engines:
        check_engines_can_be_built(compute_capability)
    else:
        refuse_options({"--compute-capability": compute_capability}, "no engine is built; add --trt")
    trained_on = None if dataset is None else dataset_from(dataset, data)
    export = _exporter(run, bundle, name)
    written = export(
        out, trained_on, cache_or_default(cache), console(stderr=True), precisions=wanted, publish_passed=publish_passed
    )
    print(written.path)
    if engines:
        _build_engines(written, engines, compute_capability)
    if written.manifest["refused"]:
        raise typer.Exit(EXIT_FAILED)


def _check_source(
    run: Path | None, bundle: Path | None, name: str | None, dataset: str | None, wanted: list[str]
) -> None:
    """Check that one of a run and a bundle is named, and that a bundle gets what it needs.

    Raises:
        ConfigError: they are not.
    """
    if (run is None) == (bundle is None):
        raise ConfigError("name what to export: --run for a finished training, or --bundle for a bundle to add to")
    if bundle is not None:
        refuse_options({"--name": name}, "a bundle keeps its name; leave it out")
        if wanted == ["fp32"] or dataset is None:
            raise ConfigError("--bundle adds encoders that the gate has judged: add --precision and --dataset")


def _exporter(run: Path | None, bundle: Path | None, name: str | None) -> Callable[..., Bundle]:
    """The export of a run, or the one that adds to a bundle."""
    from sal_export.package import add_precisions, export_run
    from sal_runtime.bundle.bundle import open_bundle
    from sal_train.checkpoint import load_finished_run

    if run is not None:
        return partial(export_run, load_finished_run(run), name=name)
    return partial(add_precisions, open_bundle(bundle))


def _build_engines(bundle: Bundle, precisions: list[PrecisionChoice], compute_capability: list[str] | None) -> None:
    """Build the engines whose encoders passed the gate, and print them."""
    from sal_cli.show.engines import build_progress, print_engines
    from sal_export.engines import build_engines, engine_precisions

    passed = [precision for precision in precisions if precision in engine_precisions(bundle)]
    with build_progress() as progress:
        built = build_engines(bundle, passed, compute_capability, progress=progress)
    print_engines(built, as_json=False)
