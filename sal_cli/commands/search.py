"""The command `sal search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import (
    EXIT_FAILED,
    ApproximateOption,
    BundleOption,
    CameraOption,
    DeviceOption,
    FromOption,
    JsonOption,
    LikelihoodOption,
    MetadataOption,
    PrecisionOption,
    TrackOption,
    UntilOption,
    item_filter,
    print_choice,
)

app = typer.Typer(pretty_exceptions_enable=False)


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
    from sal_cli.show.search import print_search
    from sal_cli.show.terminal import check_places, progress_bar
    from sal_runtime.matching.open_and_ask import search as search_gallery

    check_places(html, grid)
    where = item_filter(camera, track, captured_from, until, meta)
    with progress_bar("encoding") as progress:
        result = search_gallery(
            gallery=gallery,
            attrs=attrs,
            k=k,
            bundle=bundle,
            where=where,
            approximate=approximate,
            device=None if device == "cpu" else device,
            precision=precision.value if precision else None,
            progress=progress,
        )
    if min_likelihood is not None:
        result = result.likely(min_likelihood)
    print_choice(device, result.device)
    print_search(result, html, grid, as_json=as_json)
    if result.failed:
        raise typer.Exit(EXIT_FAILED)
