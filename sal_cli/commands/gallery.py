"""The commands `sal gallery ...`: fill galleries, look at them, and remove images from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sal_cli.options import (
    EXIT_FAILED,
    BundleOption,
    CameraOption,
    DeviceOption,
    FromOption,
    JsonOption,
    MetadataOption,
    PrecisionChoice,
    PrecisionOption,
    TrackOption,
    UntilOption,
    check_texts,
    item_filter,
    key_values,
    print_choice,
    refuse_options,
)
from sal_cli.parsing import CommandModule

app = CommandModule(help="Fill galleries, look at them, and remove images from them.")

GalleryArgument = Annotated[Path, typer.Argument(help="A gallery file, or the folder it follows.", show_default=False)]
PlaceArgument = Annotated[
    str, typer.Argument(help="A gallery file, or http://HOST:19530/COLLECTION of Milvus.", show_default=False)
]
CapturedOption = Annotated[
    str | None,
    typer.Option(
        "--captured-at", help="Record when they were captured: ISO 8601, or mtime for the times of the files."
    ),
]


@app.command(epilog="See also: sal search --gallery yard.sal --attrs male,backpack")
def add(  # noqa: PLR0913 - one parameter is one option
    gallery: GalleryArgument,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files, and folders of them.", show_default=False)
    ] = None,
    bundle: BundleOption = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Record this camera for the images.")] = None,
    captured_at: CapturedOption = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="KEY=VALUE", help="Record anything else to filter by later; repeatable."),
    ] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Encode images into a gallery; images that are in it and have not changed are not encoded again.

    A gallery file takes images from anywhere, and is made if it does not exist:

    ```
    sal gallery add yard.sal frames/ door/0001.jpg \
        --camera yard --captured-at mtime --meta zone=north
    ```

    The gallery of a folder is brought up to date, as a search would do it:

    ```
    sal gallery add crops/
    ```
    """
    from sal_cli.show.gallery import print_update
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.manage import update_gallery
    from sal_runtime.gallery.update import Capture

    if gallery.is_dir():
        refuse_options(
            {"--camera": camera, "--captured-at": captured_at, "--meta": meta},
            f"the gallery of the folder {gallery} takes its images from there; name a gallery file instead",
        )
    check_texts({"--camera": None if camera is None else [camera]})
    capture = Capture(camera, captured_at, dict(key_values(meta)))
    with progress_bar("encoding") as progress:
        report = update_gallery(
            gallery,
            images or [],
            bundle,
            device or "cpu",
            precision=precision,
            capture=capture,
            progress=progress,
        )
    print_choice(device, report.device)
    print_update(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal gallery verify yard.sal")
def status(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Say what a gallery holds, which bundle made it, and what the next search would encode.

    Neither the gallery nor the folder that it follows is changed:

    ```
    sal gallery status crops/
    ```
    """
    from sal_cli.show.gallery import print_status
    from sal_runtime.gallery.status import read_status

    print_status(read_status(gallery), as_json=as_json)


@app.command(epilog="See also: sal gallery purge yard.sal --older-than 30d")
def remove(
    gallery: GalleryArgument,
    images: Annotated[
        list[str] | None, typer.Argument(help="Images, named as `sal search` shows them.", show_default=False)
    ] = None,
    camera: CameraOption = None,
    track: TrackOption = None,
    captured_from: FromOption = None,
    until: UntilOption = None,
    meta: MetadataOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Remove images from a gallery for good: their vectors are overwritten in the file.

    Name the images, or give conditions; images that fulfil all of them are removed:

    ```
    sal gallery remove yard.sal frames/0001.jpg
    sal gallery remove yard.sal --camera door \
        --from 2026-11-23T14:00 --until 2026-11-23T15:00
    ```

    The image files are not deleted. A gallery that follows a folder drops the images that you delete from the folder.
    """
    from sal_cli.show.gallery import print_count
    from sal_runtime.gallery.removal import remove_images

    where = item_filter(camera, track, captured_from, until, meta)
    print_count("removed", remove_images(gallery, images or [], where), as_json=as_json)


@app.command(epilog="See also: sal gallery remove, sal gallery verify")
def purge(
    gallery: GalleryArgument,
    older_than: Annotated[str, typer.Option("--older-than", help="Remove older images: 90m, 36h, 30d, 8w.")],
    camera: CameraOption = None,
    track: TrackOption = None,
    meta: MetadataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old images for good: by the time of capture or, where that is unknown, the time when they were added.

    ```
    sal gallery purge yard.sal --older-than 30d --camera yard
    ```

    The vectors are overwritten in the file, and the log beside it is emptied. The image files are not deleted.
    """
    from sal_cli.show.gallery import print_count
    from sal_runtime.gallery.removal import purge_images

    where = item_filter(camera, track, None, None, meta)
    print_count("removed", purge_images(gallery, older_than, where), as_json=as_json)


@app.command(epilog="See also: sal gallery status yard.sal, sal bundle show")
def reindex(
    gallery: GalleryArgument,
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="The trained encoders to use from now on.")],
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Remove images that can no longer be read.")
    ] = False,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode a gallery anew, with another bundle or in another precision, and swap the result in.

    ```
    sal gallery reindex yard.sal --bundle bundles/edge --precision int8
    ```

    Searches use the old vectors until the swap. An interrupted run continues where it stopped.
    """
    from sal_cli.show.gallery import print_reindex
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.manage import reindex_gallery

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


@app.command(epilog="See also: sal search --approximate, docs/ranking.md")
def index(gallery: GalleryArgument) -> None:
    """Build an approximate index for a gallery whose vectors do not fit into memory.

    ```
    sal gallery index yard.sal
    ```

    Any change of the gallery makes the index stale; removing images deletes it. Needs the extra `ann`.
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
    sal gallery import yard.sal parts/ --bundle market.bundle
    sal gallery import http://milvus:19530/yard parts/
    ```
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
    out: Annotated[Path, typer.Option("--out", help="The folder of the Parquet files; whole files in it are kept.")],
    bundle: BundleOption = None,
    device: Annotated[
        Literal["cpu", "cuda", "trt"], typer.Option("--device", help="The device that every worker encodes on.")
    ] = "cpu",
    precision: Annotated[
        PrecisionChoice, typer.Option("--precision", help="The arithmetic that encodes images.")
    ] = "fp32",
    workers: Annotated[int, typer.Option("--workers", min=1, help="The number of processes that encode.")] = 2,
    address: Annotated[
        str | None, typer.Option("--address", help="A Ray cluster, or auto. Default: start one on this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    r"""Encode an archive of crops on a Ray cluster to Parquet files, which `sal gallery import` takes.

    ```
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
