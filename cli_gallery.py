"""The commands `sal gallery ...`: what is in gallery files, and what leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli_options import EXIT_FAILED, BundleOption, DeviceOption, JsonOption, PrecisionOption, print_choice

gallery_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

GalleryArgument = Annotated[Path, typer.Argument(help="A gallery file, or the folder it follows.", show_default=False)]


@gallery_app.command(epilog="See also: sal search --gallery yard.sal --attrs male,backpack")
def add(
    gallery: GalleryArgument,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Image files, and folders of them.", show_default=False)
    ] = None,
    bundle: BundleOption = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Name of the camera that took these images.")] = None,
    captured_at: Annotated[
        str | None, typer.Option("--captured-at", help="When: ISO 8601, or mtime for the times of the files.")
    ] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode images into a gallery; what is in it already and has not changed is not encoded again.

    A gallery file, made if there is none, with images from anywhere:

        sal gallery add yard.sal frames/ door/0001.jpg --camera yard --captured-at mtime

    Or a folder, whose gallery is brought up to date as a search would do it:

        sal gallery add crops/
    """
    from sal_runtime.gallery_admin import update_gallery
    from sal_runtime.terminal import print_update, progress_bar

    with progress_bar("encoding") as progress:
        report = update_gallery(
            gallery,
            images or [],
            bundle,
            device,
            precision=precision,
            camera=camera,
            captured_at=captured_at,
            progress=progress,
        )
    print_choice(device, report.device)
    print_update(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(EXIT_FAILED)


@gallery_app.command(epilog="See also: sal gallery verify yard.sal")
def status(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Say what a gallery holds, by which bundle it was made, and what the next search would encode.

    sal gallery status crops/
    """
    from sal_runtime.gallery_admin import read_status
    from sal_runtime.terminal import print_status

    print_status(read_status(gallery), as_json=as_json)


@gallery_app.command(epilog="See also: sal gallery purge --older-than 30d")
def remove(
    gallery: GalleryArgument,
    images: Annotated[list[str], typer.Argument(help="As `sal search` names them.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Remove images from a gallery for good: their vectors are overwritten in the file.

        sal gallery remove yard.sal frames/0001.jpg

    The image files stay. Where a gallery follows a folder, delete the files; the gallery follows.
    """
    from sal_runtime.gallery_admin import remove_images
    from sal_runtime.terminal import print_count

    print_count("removed", remove_images(gallery, images), as_json=as_json)


@gallery_app.command(epilog="See also: sal gallery remove, sal gallery verify")
def purge(
    gallery: GalleryArgument,
    older_than: Annotated[str, typer.Option("--older-than", help="An age: 90m, 36h, 30d, 8w.")],
    camera: Annotated[str | None, typer.Option("--camera", help="Only images of this camera.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove for good what was captured longer ago than an age (added, where the capture time is not known).

        sal gallery purge yard.sal --older-than 30d --camera yard

    The vectors are overwritten in the file, and the log beside it is emptied. The image files stay.
    """
    from sal_runtime.gallery_admin import purge_images
    from sal_runtime.terminal import print_count

    print_count("removed", purge_images(gallery, older_than, camera), as_json=as_json)


@gallery_app.command(epilog="See also: sal gallery status yard.sal")
def verify(gallery: GalleryArgument, as_json: JsonOption = False) -> None:
    """Read all of a gallery and check it: pages, checksums of vectors, items without vector. Exit code 1 if not whole.

    sal gallery verify yard.sal
    """
    from sal_runtime.gallery_admin import verify_gallery
    from sal_runtime.terminal import print_problems

    problems = verify_gallery(gallery)
    print_problems(problems, as_json=as_json)
    if problems:
        raise typer.Exit(EXIT_FAILED)
