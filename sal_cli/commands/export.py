"""The command `sal export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import (
    CacheOption,
    CapabilityOption,
    DataOption,
    Precision,
)

app = typer.Typer(pretty_exceptions_enable=False)


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

    from sal_cli.show.engines import build_progress, print_engines
    from sal_export.engines import build_engines, check_engines_can_be_built
    from sal_export.package import artefacts_for, export_run
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
        with build_progress() as progress:
            engines = build_engines(bundle, [one.value for one in trt], compute_capability, progress=progress)
        print_engines(engines, as_json=False)
