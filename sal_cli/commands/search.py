"""The command `sal search`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sal_cli.completion import complete_words
from sal_cli.options import (
    EXIT_FAILED,
    FILTERS,
    OUTPUT,
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
    multiply_in_one_thread,
    print_choice,
)
from sal_cli.parsing import CommandModule
from sal_runtime.errors import ConfigError

WHAT = "What to find"

DescriptionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="DESCRIPTION",
        show_default=False,
        autocompletion=complete_words,
        help="The person to find, in words of `sal bundle words`.",
    ),
]
PlaceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="GALLERY",
        show_default=False,
        help="A folder of person crops, a gallery file, or http://HOST:19530/COLLECTION.",
    ),
]
AttrsOption = Annotated[
    str | None,
    typer.Option(
        "--attrs",
        "-a",
        rich_help_panel=WHAT,
        autocompletion=complete_words,
        help="Find this description, instead of DESCRIPTION.",
    ),
]
PlaceOption = Annotated[
    str | None,
    typer.Option(
        "--gallery", "-g", metavar="GALLERY", rich_help_panel=WHAT, help="Search this gallery, instead of GALLERY."
    ),
]
TopOption = Annotated[
    int, typer.Option("-k", "--top", min=1, rich_help_panel=WHAT, help="Show at most this many hits.")
]
ByTrackOption = Annotated[
    bool,
    typer.Option(
        "--by-track", rich_help_panel=WHAT, help="Show one hit for each track, its best image; -k counts tracks."
    ),
]
ApproximateOption = Annotated[
    bool,
    typer.Option(
        "--approximate",
        rich_help_panel=WHAT,
        help="Let the index of `sal gallery index` propose hits; it can miss some.",
    ),
]
LikelihoodOption = Annotated[
    str | None,
    typer.Option(
        "--min-likelihood",
        metavar="SHARE",
        rich_help_panel=FILTERS,
        help="Leave out images whose likelihood of match is lower, such as 80% or 0.8.",
    ),
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", rich_help_panel=OUTPUT, help="Write the hits as a page for a browser.")
]
GridOption = Annotated[
    Path | None,
    typer.Option("--grid", rich_help_panel=OUTPUT, help="Write the hits as one picture, JPEG or PNG by its name."),
]
CsvOption = Annotated[
    Path | None,
    typer.Option("--csv", rich_help_panel=OUTPUT, help="Write the hits as a table for a spreadsheet; - is stdout."),
]
app = CommandModule()


@app.command(epilog="See also: sal bundle words, sal gallery status demo/gallery, docs/query_language.md")
def search(  # noqa: PLR0913 - one parameter is one option
    description: DescriptionArgument = None,
    place: PlaceArgument = None,
    attrs: AttrsOption = None,
    gallery: PlaceOption = None,
    bundle: BundleOption = None,
    k: TopOption = 20,
    by_track: ByTrackOption = False,
    approximate: ApproximateOption = False,
    camera: CameraOption = None,
    track: TrackOption = None,
    captured_from: FromOption = None,
    until: UntilOption = None,
    meta: MetadataOption = None,
    min_likelihood: LikelihoodOption = None,
    html: HtmlOption = None,
    grid: GridOption = None,
    csv: CsvOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the people of a gallery by a description.

    ```
    sal search 'woman in a red shirt, no backpack' demo/gallery
    sal search --attrs 'female,!backpack,upper=red|blue' --gallery demo/gallery
    sal search 'man with a backpack' demo/gallery -k 5 --html hits.html
    ```

    What the description leaves out may be anything. Write a sentence, or the exact form: `,` means and, `|` means or,
    `!` means not. `sal bundle words` lists the words that can be asked for. Filters apply before ranking.

    A folder is encoded once; its vectors are kept in `crops.sal` beside it, and later searches encode only what is new
    or has changed. Unreadable images are named and skipped, and the exit code is 1.
    """
    multiply_in_one_thread()
    from sal_cli.show.search import check_files, print_search
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.matching.open_and_ask import search as search_gallery

    attrs, gallery = _what_and_where([description, place], attrs, gallery)
    files, least = check_files(html, grid, csv, as_json=as_json), _share(min_likelihood)
    with progress_bar("encoding") as progress:
        result = search_gallery(
            gallery=gallery,
            attrs=attrs,
            k=k,
            bundle=bundle,
            where=item_filter(camera, track, captured_from, until, meta),
            approximate=approximate,
            by_track=by_track,
            device=device,
            precision=precision,
            progress=progress,
        )
    print_choice(device, result.device)
    print_search(result if least is None else result.likely(least), files, as_json=as_json)
    if result.failed:
        raise typer.Exit(EXIT_FAILED)


def _what_and_where(given: list[str | None], attrs: str | None, gallery: str | None) -> tuple[str, str]:
    """The description and the gallery: options first, and what they leave open from the arguments, in this order.

    Raises:
        ConfigError: one of them is missing or given twice.
    """
    arguments = [argument for argument in given if argument is not None]
    missing = [name for name, value in (("description", attrs), ("gallery", gallery)) if value is None]
    if len(arguments) > len(missing):
        doubled = " and ".join(name for name in ("description", "gallery") if name not in missing)
        raise ConfigError(f"the {doubled} is given twice: by an option and as {arguments[-1]!r}; leave one of them out")
    named = dict(zip(missing, arguments, strict=False))
    if len(named) < len(missing):
        raise ConfigError(
            f"the {missing[-1]} is missing; expected a description and a gallery, as in sal search 'red shirt' crops/"
        )
    what, where = attrs or named.get("description", ""), gallery or named.get("gallery", "")
    if os.path.exists(what) and not os.path.exists(where):
        raise ConfigError(f"{where!r} is no gallery, and {what!r} is a path; write the description first")
    return what, where


def _share(text: str | None) -> float | None:
    """A share 0..1 from `80%` or `0.8`; None where nothing was given.

    Raises:
        ConfigError: the text is neither.
    """
    if text is None:
        return None
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (1 if number == text.strip() else 100)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"--min-likelihood {text}: expected a share such as 80% or 0.8")
    return share
