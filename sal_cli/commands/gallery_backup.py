"""The commands `sal gallery backup` and `sal gallery restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sal_cli.options import EXIT_FAILED, JsonOption


def backup(
    gallery: Annotated[Path, typer.Argument(help="A gallery file, or the folder it follows.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="The folder of the backups; it is made if it does not exist.")],
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="AGE", help="Then delete backups that are older than 36h, 30d or 8w. Default: keep all."
        ),
    ] = None,
    erase_removed: Annotated[
        bool,
        typer.Option("--erase-removed", help="Then erase from earlier backups what the gallery no longer holds."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Back up a gallery as it is at one moment, with the pictures beside it, while others read and write it.

    ```
    sal gallery backup yard.sal --to backups
    ```

    The backup is verified before it gets its name. It is a gallery that can be searched, in a folder named after the
    gallery and the moment. Pictures that have not changed since the backup before are hard links.

    A backup holds what is removed from the gallery later. So give backups an age at which they are deleted, or take
    what was removed out of the earlier ones at once:

    ```
    sal gallery backup yard.sal --to backups --keep 30d
    sal gallery backup yard.sal --to backups --erase-removed
    ```
    """
    from sal_cli.show.gallery import print_backup
    from sal_cli.show.terminal import progress_bar
    from sal_runtime.gallery.folder import locate
    from sal_runtime.gallery.moments import parse_age
    from sal_service.galleries.backup import back_up

    keep_seconds = None if keep is None else parse_age(keep)
    with progress_bar("copying pictures") as progress:
        report = back_up(locate(gallery), to, keep_seconds=keep_seconds, erase_removed=erase_removed, progress=progress)
    print_backup(report, as_json=as_json)
    if report.differing:
        raise typer.Exit(EXIT_FAILED)


def restore(
    backup: Annotated[
        Path,
        typer.Argument(
            help="A folder of backups, whose newest one is taken, or one of those in it.", show_default=False
        ),
    ],
    gallery: Annotated[Path, typer.Argument(help="The gallery file to make.", show_default=False)],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the gallery if it exists and nobody has it open.")
    ] = False,
    with_removed: Annotated[
        bool, typer.Option("--with-removed", help="Bring back what was removed from the gallery since the backup.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a gallery from a backup, which is verified first and stays as it is.

    ```
    sal gallery restore backups restored.sal
    ```

    Stop `sal serve` before you replace a gallery. What was removed from it since the backup stays removed:

    ```
    sal gallery restore backups yard.sal --replace
    ```
    """
    from sal_cli.show.gallery import print_restore
    from sal_cli.show.terminal import progress_bar
    from sal_service.galleries.restore import restore as restore_gallery

    with progress_bar("copying pictures") as progress:
        report = restore_gallery(backup, gallery, replace=replace, with_removed=with_removed, progress=progress)
    print_restore(report, as_json=as_json)
    if report.differing:
        raise typer.Exit(EXIT_FAILED)
