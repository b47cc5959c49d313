"""The commands `sal gallery ...`: fill galleries, look at them, and remove images from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sal_cli.commands.gallery_backup import backup, restore
from sal_cli.options import (
    COMPUTE,
    EXIT_FAILED,
    OUTPUT,
    BundleOption,
    CameraOption,
    DeviceOption,
    FromOption,
    JsonOption,
    MetadataOption,
    PrecisionChoice,
    PrecisionOption,
    ShippedBundleOption,
    TrackOption,
    UntilOption,
    check_texts,
    item_filter,
    key_values,
    print_choice,
    refuse_options,
)
from sal_cli.parsing import CommandModule

if TYPE_CHECKING:
    from sal_runtime.gallery.update import Capture

RECORD = "What to record"
"""A group of options in the help."""

app = CommandModule(help="Fill galleries, look at them, and remove images from them.")

GalleryArgument = Annotated[Path, typer.Argument(help="A gallery file, or the folder it follows.", show_default=False)]
PlaceArgument = Annotated[
    str, typer.Argument(help="A gallery file, or http://HOST:19530/COLLECTION of Milvus.", show_default=False)
]
SourcesArgument = Annotated[
    list[Path] | None, typer.Argument(help="Image files, and folders of them.", show_default=False)
]
RecordCameraOption = Annotated[
    str | None,
    typer.Option("--camera", metavar="NAME", rich_help_panel=RECORD, help="Record this camera for the images."),
]
RecordMetadataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--meta",
        metavar="KEY=VALUE",
        rich_help_panel=RECORD,
        help="Record anything else to filter by later; repeatable.",
    ),
]
RecordTrackOption = Annotated[
    str | None,
    typer.Option("--track", metavar="NAME", rich_help_panel=RECORD, help="Record this track for the images."),
]
TableOption = Annotated[
    Path | None,
    typer.Option(
        "--table",
        rich_help_panel=RECORD,
        help="Add the images of this .csv or .jsonl file, and record what its columns say: camera, captured_at, "
        "track, box, and any other as metadata.",
    ),
]
ForgetOption = Annotated[
    bool, typer.Option("--forget", help="Add images again that were removed from the gallery before.")
]
CapturedOption = Annotated[
    str | None,
    typer.Option(
        "--captured-at",
        metavar="MOMENT",
        rich_help_panel=RECORD,
        help="Record when they were captured: a moment such as 2026-11-23T14:00 (local time, or in another zone with "
        "+01:00 at its end), or mtime for the times of the files.",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Remove nothing; only say what would be removed.")]
ListOption = Annotated[
    bool, typer.Option("--list", rich_help_panel=OUTPUT, help="Print the name of each image, one a line.")
]
DeleteOption = Annotated[
    bool,
    typer.Option(
        "--delete-files", help="Also delete the image files, and name each; links and changed files are kept."
    ),
]


@app.command(epilog="See also: sal search --gallery yard.sal --attrs male,backpack")
def add(  # noqa: PLR0913 - one parameter is one option
    gallery: GalleryArgument,
    images: SourcesArgument = None,
    bundle: BundleOption = None,
    camera: RecordCameraOption = None,
    captured_at: CapturedOption = None,
    track: RecordTrackOption = None,
    meta: RecordMetadataOption = None,
    table: TableOption = None,
    forget: ForgetOption = False,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Encode images into a gallery; images that are in it and have not changed are not encoded again.

    A gallery file takes images from anywhere, and is made if it does not exist:

    ```
    sal gallery add yard.sal demo/gallery \
        --camera door --captured-at mtime --meta zone=north
    ```

    A table says what another pipeline knows of each image; docs/gallery.md describes its columns:

    ```
    sal gallery add tracks.sal --table demo/gallery/crops.csv
    ```

    `sal gallery add demo/gallery` brings the gallery of a folder up to date, as a search would do it.
    """
    from sal_cli.crop_table import read_crop_table
    from sal_cli.manage import update_gallery
    from sal_cli.show.gallery import print_update
    from sal_cli.show.terminal import progress_bar

    if gallery.is_dir():
        refuse_options(
            {"--camera": camera, "--captured-at": captured_at, "--track": track, "--meta": meta, "--table": table},
            f"the gallery of the folder {gallery} takes its images from there; name a gallery file instead",
        )
    with progress_bar("encoding") as progress:
        report = update_gallery(
            gallery,
            images or [],
            bundle,
            device or "cpu",
            precision=precision,
            capture=_capture(camera, captured_at, track, meta),
            captures={} if table is None else read_crop_table(table),
            forget=forget,
            progress=progress,
        )
    print_choice(device, report.device)
    print_update(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(EXIT_FAILED)


def _capture(camera: str | None, captured_at: str | None, track: str | None, meta: list[str] | None) -> Capture:
    from sal_runtime.gallery.update import Capture

    check_texts({"--camera": [camera or ""], "--track": [track or ""]})
    return Capture(camera, captured_at, dict(key_values(meta)), track)


@app.command(epilog="See also: sal gallery verify yard.sal")
def status(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Say what a gallery holds, which bundle made it, and what the next search would encode.

    Neither the gallery nor the folder that it follows is changed:

    ```
    sal gallery status yard.sal
    ```
    """
    from sal_cli.show.gallery import print_status
    from sal_runtime.gallery.status import read_status

    print_status(read_status(gallery), as_json=as_json)


@app.command(epilog="See also: sal gallery purge yard.sal --older-than 30d")
def remove(  # noqa: PLR0913 - one parameter is one option
    gallery: GalleryArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(help="Images, named as `sal search` shows them, or patterns with *.", show_default=False),
    ] = None,
    camera: CameraOption = None,
    track: TrackOption = None,
    captured_from: FromOption = None,
    until: UntilOption = None,
    meta: MetadataOption = None,
    dry_run: DryRunOption = False,
    list_names: ListOption = False,
    delete_files: DeleteOption = False,
    as_json: JsonOption = False,
) -> None:
    r"""Remove images from a gallery for good: their vectors are overwritten in the file.

    Name the images, also by patterns, or give conditions; images that meet all of them are removed:

    ```
    sal gallery remove yard.sal demo/gallery/person159_0792.jpg
    sal gallery remove yard.sal 'demo/gallery/person160_*'
    sal gallery remove yard.sal --camera door \
        --from 2026-11-23T14:00 --until 2026-11-23T15:00
    ```

    Without `--dry-run`, the following command would also delete the files of the images:

    ```
    sal gallery remove yard.sal --camera door --delete-files --dry-run
    ```
    """
    from sal_cli.removal import remove_images
    from sal_cli.show.gallery import print_removal

    where = item_filter(camera, track, captured_from, until, meta)
    removal = remove_images(gallery, images or [], where, dry_run=dry_run, delete_files=delete_files)
    print_removal(removal, dry_run=dry_run, list_names=list_names, as_json=as_json)
    if removal.kept:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal gallery remove, sal gallery verify")
def purge(  # noqa: PLR0913 - one parameter is one option
    gallery: GalleryArgument,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Remove images older than 90m, 36h, 30d or 8w.")
    ],
    camera: CameraOption = None,
    track: TrackOption = None,
    meta: MetadataOption = None,
    dry_run: DryRunOption = False,
    list_names: ListOption = False,
    delete_files: DeleteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old images for good: by the time of capture or, where that is unknown, the time when they were added.

    ```
    sal gallery purge yard.sal --older-than 30d --camera door
    sal gallery purge yard.sal --older-than 30d --delete-files --dry-run
    ```

    The vectors are overwritten in the file, and the log beside it is emptied.
    """
    from sal_cli.removal import purge_images
    from sal_cli.show.gallery import print_removal

    where = item_filter(camera, track, None, None, meta)
    removal = purge_images(gallery, older_than, where, dry_run=dry_run, delete_files=delete_files)
    print_removal(removal, dry_run=dry_run, list_names=list_names, as_json=as_json)
    if removal.kept:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal gallery status yard.sal, sal bundle show")
def reindex(
    gallery: GalleryArgument,
    bundle: BundleOption = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Remove images that can no longer be read.")
    ] = False,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode a gallery anew, with another bundle or in another precision, and swap the result in.

    ```
    sal gallery reindex yard.sal --precision int8
    sal gallery reindex yard.sal --bundle bundles/edge --precision fp32
    ```

    `--bundle` and `--precision` say what to use from now on. Searches use the old vectors until the swap. An
    interrupted run continues where it stopped.
    """
    from sal_cli.manage import reindex_gallery
    from sal_cli.show.gallery import print_reindex
    from sal_cli.show.terminal import progress_bar

    with progress_bar("encoding") as progress:
        report = reindex_gallery(
            gallery, bundle, device or "cpu", precision=precision, drop_missing=drop_missing, progress=progress
        )
    print_reindex(report, as_json=as_json)


@app.command(epilog="See also: sal gallery status yard.sal")
def verify(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Read and check all of a gallery: pages, checksums of vectors, items without a vector.

    Each problem is one line, and makes the exit code 1:

    ```
    sal gallery verify yard.sal
    ```
    """
    from sal_cli.show.gallery import print_problems
    from sal_runtime.gallery.folder import locate
    from sal_runtime.gallery.gallery import Gallery

    with Gallery.open(locate(gallery)) as opened:
        problems = opened.verify()
    print_problems(problems, as_json=as_json)
    if problems:
        raise typer.Exit(EXIT_FAILED)


app.command(epilog="See also: sal gallery restore, docs/service.md")(backup)
app.command(epilog="See also: sal gallery backup, docs/service.md")(restore)


@app.command(epilog="See also: sal search --approximate, docs/ranking.md")
def index(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Build an approximate index for a gallery whose vectors do not fit into memory.

    ```
    sal gallery index yard.sal
    ```

    Any change of the gallery makes the index stale; removing images deletes it. Needs the extra `ann`.
    """
    from sal_cli.show.terminal import print_json, progress_bar
    from sal_runtime.gallery.folder import locate
    from sal_runtime.gallery.gallery import Gallery
    from sal_runtime.gallery.index import build_gallery_index

    with Gallery.open(locate(gallery), "w") as opened, progress_bar("indexing") as progress:
        path = build_gallery_index(opened, progress)
    if as_json:
        print_json({"index": str(path)})
    else:
        print(path)


@app.command("export", epilog="See also: sal gallery import, docs/scaling.md")
def export_items(
    gallery: PlaceArgument,
    out: Annotated[Path, typer.Argument(help="The .parquet file to write.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Write all items and embeddings of a gallery to a Parquet file.

    pandas, DuckDB and other tools read such a file; `sal gallery import` adds it to another gallery:

    ```
    sal gallery export yard.sal yard.parquet
    ```
    """
    from sal_cli.show.gallery import print_count
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.parquet import export_gallery
    from sal_runtime.gallery.places import open_place

    with progress_bar("exporting") as progress, open_place(gallery) as opened:
        count = export_gallery(opened, out, progress)
    print_count("exported", count, as_json=as_json)


@app.command("import", epilog="See also: sal gallery export, sal gallery encode")
def import_items(
    gallery: PlaceArgument,
    sources: Annotated[list[Path], typer.Argument(help="Parquet files, and folders of them.", show_default=False)],
    bundle: BundleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add the items of Parquet files to a gallery, which is made if it does not exist; no image is encoded.

    Files made by another bundle than the gallery are refused. Known items are replaced:

    ```
    sal gallery import copy.sal yard.parquet --bundle bundles/edge
    sal gallery import http://milvus:19530/yard yard.parquet
    ```
    """
    from sal_cli.manage import import_into
    from sal_cli.show.gallery import print_count
    from sal_cli.show.terminal import progress_bar

    with progress_bar("importing") as progress:
        count = import_into(gallery, sources, bundle, progress)
    print_count("imported", count, as_json=as_json)


@app.command(epilog="See also: sal gallery import, docs/scaling.md")
def encode(
    source: Annotated[Path, typer.Argument(help="A folder of person crops.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The folder of the Parquet files; whole files in it are kept.")],
    bundle: ShippedBundleOption = None,
    device: Annotated[
        Literal["cpu", "cuda", "trt"],
        typer.Option("--device", rich_help_panel=COMPUTE, help="Encode on this device in every worker."),
    ] = "cpu",
    precision: Annotated[
        PrecisionChoice,
        typer.Option("--precision", rich_help_panel=COMPUTE, help="Encode images in this arithmetic."),
    ] = "fp32",
    workers: Annotated[
        int, typer.Option("--workers", min=1, rich_help_panel=COMPUTE, help="Encode in this many processes.")
    ] = 2,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            rich_help_panel=COMPUTE,
            help="Use this Ray cluster; auto finds one. Default: start one on this machine.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    r"""Encode an archive of crops on a Ray cluster to Parquet files, which `sal gallery import` takes.

    ```
    sal gallery encode demo/gallery --out parts/ --workers 2
    sal gallery encode archive/ --out parts/ --workers 8 \
        --address ray-head:6379
    ```

    An interrupted run continues with the files that are not whole. Unreadable images are listed in failed.jsonl beside
    the files, and the exit code is 1.
    """
    from sal_cli.show.gallery import print_archive
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.archive.ray import encode_archive
    from sal_runtime.gallery.choices import choose_bundle_path

    with progress_bar("encoding") as progress:
        report = encode_archive(source, choose_bundle_path(bundle), out, device, precision, workers, address, progress)
    print_archive(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(EXIT_FAILED)
