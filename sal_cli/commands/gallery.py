"""The commands `sal gallery ...`: what is in gallery files, and what leaves them."""

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
    Precision,
    PrecisionOption,
    TrackOption,
    UntilOption,
    item_filter,
    key_values,
    print_choice,
)

app = typer.Typer(
    help="Look after gallery files: what is in them, and what leaves them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

GalleryArgument = Annotated[Path, typer.Argument(help="A gallery file, or the folder it follows.", show_default=False)]


PlaceArgument = Annotated[
    str, typer.Argument(help="A gallery file, or http://HOST:19530/COLLECTION of Milvus.", show_default=False)
]


@app.command(epilog="See also: sal search --gallery yard.sal --attrs male,backpack")
def add(  # noqa: PLR0913 - one parameter is one option
    gallery: GalleryArgument,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files, and folders of them.", show_default=False)
    ] = None,
    bundle: BundleOption = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Name of the camera that took these images.")] = None,
    captured_at: Annotated[
        str | None, typer.Option("--captured-at", help="When: ISO 8601, or mtime for the times of the files.")
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="KEY=VALUE", help="Anything else to filter by later; may be repeated."),
    ] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode images into a gallery; what is in it already and has not changed is not encoded again.

    A gallery file, made if there is none, with images from anywhere:

        sal gallery add yard.sal frames/ door/0001.jpg --camera yard --captured-at mtime --meta zone=north

    Or a folder, whose gallery is brought up to date as a search would do it:

        sal gallery add crops/
    """
    from sal_cli.show.gallery import print_update
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.manage import update_gallery
    from sal_runtime.gallery.update import Capture

    with progress_bar("encoding") as progress:
        report = update_gallery(
            gallery,
            images or [],
            bundle,
            device,
            precision=precision.value if precision else None,
            capture=Capture(camera, captured_at, dict(key_values(meta))),
            progress=progress,
        )
    print_choice(device, report.device)
    print_update(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal gallery verify yard.sal")
def status(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Say what a gallery holds, by which bundle it was made, and what the next search would encode.

    sal gallery status crops/
    """
    from sal_cli.show.gallery import print_status
    from sal_runtime.gallery.status import read_status

    print_status(read_status(gallery), as_json=as_json)


@app.command(epilog="See also: sal gallery purge --older-than 30d")
def remove(
    gallery: GalleryArgument,
    images: Annotated[list[str] | None, typer.Argument(help="As `sal search` names them.", show_default=False)] = None,
    camera: CameraOption = None,
    track: TrackOption = None,
    captured_from: FromOption = None,
    until: UntilOption = None,
    meta: MetadataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove images from a gallery for good: their vectors are overwritten in the file.

    Images by their names, or all that fulfil every condition:

        sal gallery remove yard.sal frames/0001.jpg

        sal gallery remove yard.sal --camera door --from 2026-11-23T14:00 --until 2026-11-23T15:00

    The image files stay. Where a gallery follows a folder, delete the files; the gallery follows.
    """
    from sal_cli.show.gallery import print_count
    from sal_runtime.gallery.removal import remove_images

    where = item_filter(camera, track, captured_from, until, meta)
    print_count("removed", remove_images(gallery, images or [], where), as_json=as_json)


@app.command(epilog="See also: sal gallery remove, sal gallery verify")
def purge(
    gallery: GalleryArgument,
    older_than: Annotated[str, typer.Option("--older-than", help="An age: 90m, 36h, 30d, 8w.")],
    camera: CameraOption = None,
    track: TrackOption = None,
    meta: MetadataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove for good what was captured longer ago than an age (added, where the capture time is not known).

        sal gallery purge yard.sal --older-than 30d --camera yard

    The vectors are overwritten in the file, and the log beside it is emptied. The image files stay.
    """
    from sal_cli.show.gallery import print_count
    from sal_runtime.gallery.removal import purge_images

    where = item_filter(camera, track, None, None, meta)
    print_count("removed", purge_images(gallery, older_than, where), as_json=as_json)


@app.command(epilog="See also: sal gallery status yard.sal, sal bundle show")
def reindex(
    gallery: GalleryArgument,
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="Trained encoders to encode with from now on.")],
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Remove images that cannot be read any more.")
    ] = False,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode a gallery anew with another bundle, or in another precision, and swap the result in.

        sal gallery reindex yard.sal --bundle bundles/edge --precision int8

    Searches go on with the old vectors until then. A run that is stopped continues where it was.
    """
    from sal_cli.show.gallery import print_reindex
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.manage import reindex_gallery

    with progress_bar("encoding") as progress:
        report = reindex_gallery(
            gallery,
            bundle,
            device,
            precision=precision.value if precision else None,
            drop_missing=drop_missing,
            progress=progress,
        )
    print_reindex(report, as_json=as_json)


@app.command(epilog="See also: sal gallery status yard.sal")
def verify(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Read all of a gallery and check it: pages, checksums of vectors, items without vector. Exit code 1 if not whole.

    sal gallery verify yard.sal
    """
    from sal_cli.show.gallery import print_problems
    from sal_runtime.gallery.folder import locate
    from sal_runtime.gallery.gallery import Gallery

    with Gallery.open(locate(gallery)) as opened:
        problems = opened.verify()
    print_problems(problems, as_json=as_json)
    if problems:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal search --approximate, docs/ranking.md")
def index(gallery: GalleryArgument) -> None:
    """Build an approximate index beside a gallery whose vectors do not fit into memory.

        sal gallery index yard.sal

    Any change of the gallery makes it stale; removing images deletes it. Needs the extra `ann`.
    """
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.folder import locate
    from sal_runtime.gallery.gallery import Gallery
    from sal_runtime.gallery.index import build_gallery_index

    with Gallery.open(locate(gallery), "w") as opened, progress_bar("indexing") as progress:
        print(build_gallery_index(opened, progress))


@app.command("export", epilog="See also: sal gallery import, docs/scaling.md")
def export_items(
    gallery: PlaceArgument,
    out: Annotated[Path, typer.Argument(help="The .parquet file to write.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Write all of a gallery, items and embeddings, to a Parquet file that other tools read too.

    sal gallery export yard.sal yard.parquet
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
    """Add the items of Parquet files to a gallery, which is made if there is none; no image is encoded.

    Files of another bundle than the gallery's are refused. Items that are known are replaced:

        sal gallery import yard.sal parts/ --bundle market.sal

        sal gallery import http://milvus:19530/yard parts/
    """
    from sal_cli.show.gallery import print_count
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.manage import import_into

    with progress_bar("importing") as progress:
        count = import_into(gallery, sources, bundle, progress)
    print_count("imported", count, as_json=as_json)


@app.command(epilog="See also: sal gallery import, docs/scaling.md")
def encode(
    source: Annotated[Path, typer.Argument(help="A folder of person crops.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder of the Parquet files; what is whole there stays.")],
    bundle: BundleOption = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or trt, on all workers.")] = "cpu",
    precision: Annotated[Precision, typer.Option("--precision", help="Of the image encoder.")] = Precision.fp32,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that encode.")] = 2,
    address: Annotated[
        str | None, typer.Option("--address", help="Of a Ray cluster, or auto. Default: one on this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Encode an archive of crops on a Ray cluster to Parquet files, which `sal gallery import` takes.

        sal gallery encode archive/ --out parts/ --workers 8 --address ray-head:6379

    A run that is stopped continues with the parts that are not whole. Images that cannot be read are in failed.jsonl
    beside the parts, and the exit code is 1.
    """
    from sal_cli.show.gallery import print_archive
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.archive.ray import encode_archive
    from sal_runtime.gallery.choices import choose_bundle_path

    with progress_bar("encoding") as progress:
        report = encode_archive(
            source, choose_bundle_path(bundle), out, device, precision.value, workers, address, progress
        )
    print_archive(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(EXIT_FAILED)
