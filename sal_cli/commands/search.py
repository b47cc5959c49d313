"""The command `sal search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import (
    EXIT_FAILED,
    BundleOption,
    CameraOption,
    DeviceOption,
    FromOption,
    JsonOption,
    MetadataOption,
    PrecisionOption,
    TrackOption,
    UntilOption,
    item_filter,
    print_choice,
)
from sal_cli.parsing import CommandModule

AttrsOption = Annotated[str, typer.Option("--attrs", "-a", help="The description, in words of `sal bundle words`.")]
PlaceOption = Annotated[
    str,
    typer.Option("--gallery", "-g", help="A folder of person crops, a gallery file, or http://HOST:19530/COLLECTION."),
]
ApproximateOption = Annotated[
    bool, typer.Option("--approximate", help="Let the index of `sal gallery index` propose hits; it can miss some.")
]
LikelihoodOption = Annotated[
    float | None,
    typer.Option("--min-likelihood", min=0, max=1, help="Leave out hits whose likelihood of match is lower."),
]
app = CommandModule()


@app.command(epilog="See also: sal bundle words, sal gallery status crops/, docs/query_language.md")
def search(  # noqa: PLR0913 - one parameter is one option
    attrs: AttrsOption,
    gallery: PlaceOption,
    bundle: BundleOption = None,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="Show at most this many hits.")] = 20,
    camera: CameraOption = None,
    track: TrackOption = None,
    captured_from: FromOption = None,
    until: UntilOption = None,
    meta: MetadataOption = None,
    approximate: ApproximateOption = False,
    min_likelihood: LikelihoodOption = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the hits as a page for a browser.")] = None,
    grid: Annotated[Path | None, typer.Option("--grid", help="Write the hits as one JPEG.")] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the people of a gallery by a description.

    What the description leaves out may be anything. `,` means and, `|` means or, `!` means not, or write a sentence:
    'man in a red jacket, no backpack'. `sal bundle words` lists the words that can be asked for:

    ```
    sal search --attrs 'female,no-backpack,upper=red|blue' --gallery crops/
    ```

    Filters leave images out before ranking, by camera, track, time and the metadata that `sal gallery add` recorded:

    ```
    sal search -a male,backpack -g yard.sal --camera door --meta zone=north
    ```

    A folder is encoded once; its vectors are kept in `crops.sal` beside it, and later searches encode only what is new
    or has changed. Unreadable images are named and skipped, and the exit code is 1.
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
