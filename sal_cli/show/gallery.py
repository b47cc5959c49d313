"""What the commands `sal gallery ...` did or found."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sal_cli.show.terminal import print_failed, print_json, printable
from sal_runtime.gallery.moments import moment_text

if TYPE_CHECKING:
    from sal_cli.removal import Removal
    from sal_runtime.archive.ray import ArchiveReport
    from sal_runtime.gallery.comparing import UpdateReport
    from sal_runtime.gallery.reindex import ReindexReport
    from sal_runtime.gallery.status import Status
    from sal_runtime.gallery.store.recorded import FieldValues, Recorded
    from sal_service.galleries.backup import BackupReport
    from sal_service.galleries.restore import RestoreReport


def print_update(report: UpdateReport, *, as_json: bool) -> None:
    """Print how many images `sal gallery add` added, and on stderr those it skipped."""
    counts = {name: getattr(report, name) for name in ("added", "changed", "removed", "unchanged")}
    if as_json:
        print_json(
            {
                **counts,
                "held_back": report.held_back,
                "failed": [{"path": path, "reason": reason} for path, reason in report.failed],
            }
        )
    else:
        print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
        if report.held_back:
            print(f"{report.held_back:,} held back: removed from the gallery before; --forget adds them again")
    print_failed(report.failed)


def print_status(status: Status, *, as_json: bool) -> None:
    """Print what `sal gallery status` found."""
    if as_json:
        print_json(status.to_json())
        return
    print(f"gallery  {status.path}")
    print(f"images   {status.items:,}")
    print(f"size     {status.bytes / 1e6:,.1f} MB, {status.embedding_dim} numbers an image")
    print(f"bundle   {status.bundle} ({status.fingerprint[:12]})")
    if status.follows is not None:
        print(f"follows  {status.follows}")
    if status.pending is not None:
        waiting = ", ".join(f"{count:,} {name}" for name, count in status.pending.items() if count)
        print(f"pending  {waiting or 'nothing, it is up to date'}")
    if status.held_back:
        print(f"removed  {status.held_back:,}, kept as hashes only; they do not come back with the next add")
    _print_recorded(status.recorded)
    if status.left_behind:
        files = shlex.join(str(file) for file in status.left_behind)
        print("note     the folder is gone, but its images can still be found here; to forget them:")
        print(f"         rm {files}")


def _print_recorded(recorded: Recorded) -> None:
    if recorded.cameras.distinct:
        print(f"cameras  {_counted(recorded.cameras)}")
    if recorded.tracks:
        print(f"tracks   {recorded.tracks:,}")
    if recorded.captured is not None:
        first, last = map(moment_text, recorded.captured)
        print(f"captured {first} .. {last}")
    for key, values in recorded.metadata.items():
        print(f"{printable(key):8} {_counted(values)}")


def _counted(values: FieldValues) -> str:
    if values.distinct > len(values.counts):
        return f"{values.distinct:,} different values"
    return ", ".join(f"{printable(text)} ({count:,})" for text, count in values.counts.items())


def print_count(done: str, count: int, *, as_json: bool) -> None:
    """Print how many images were removed, exported or imported; `done` is that word."""
    if as_json:
        print_json({done: count})
    else:
        print(_images(done, count))


def _images(done: str, count: int) -> str:
    return f"{done} {count:,} {'image' if count == 1 else 'images'}"


def _pictures(count: int) -> str:
    return f"{count:,} {'picture' if count == 1 else 'pictures'}"


def print_removal(removal: Removal, *, dry_run: bool, list_names: bool, as_json: bool) -> None:
    """Print what was removed, or would be; on stderr what the conditions know nothing of, and files that were kept."""
    done = "would remove" if dry_run else "removed"
    if as_json:
        kept = [{"path": path, "reason": reason} for path, reason in removal.kept]
        found = {"dry_run": dry_run, "removed": len(removal.uris), "uris": list(removal.uris)}
        print_json(found | {"deleted_files": list(removal.files), "kept_files": kept, "unknown": list(removal.unknown)})
    else:
        said = sys.stderr if list_names else sys.stdout  # with the names on stdout, all else is not for the pipe
        for uri in removal.uris if list_names else ():
            print(printable(uri))
        for path in removal.files:
            print(f"{'would delete' if dry_run else 'deleted'} {printable(path)}", file=said)
        print(_images(done, len(removal.uris)), file=said)
    for line in removal.unknown:
        print(f"sal: note: {printable(line)}", file=sys.stderr)
    for path, reason in removal.kept:
        print(f"sal: not deleted {printable(path)}: {printable(reason)}", file=sys.stderr)


def print_reindex(report: ReindexReport, *, as_json: bool) -> None:
    """Print how many images `sal gallery reindex` encoded, and on stderr those it dropped."""
    if as_json:
        dropped = [{"path": path, "reason": reason} for path, reason in report.dropped]
        print_json({"encoded": report.encoded, "kept": report.kept, "dropped": dropped})
    else:
        print(f"{report.encoded:,} encoded, {report.kept:,} encoded before, {len(report.dropped):,} dropped")
    print_failed(report.dropped)


def print_archive(report: ArchiveReport, *, as_json: bool) -> None:
    """Print how many images `sal gallery encode` encoded, and how many failed."""
    if as_json:
        print_json(vars(report))
    else:
        print(
            f"{report.images:,} images in {report.parts:,} files, {report.unchanged:,} of them from an earlier run; "
            f"{report.failed:,} failed"
        )


def print_problems(problems: Sequence[str], *, as_json: bool) -> None:
    """Print what is wrong, a line each, or that nothing is."""
    if as_json:
        print_json({"ok": not problems, "problems": list(problems)})
    else:
        print("\n".join(map(printable, problems)) if problems else "ok")


def print_backup(report: BackupReport, *, as_json: bool) -> None:
    """Print where a backup is and what it holds, and on stderr the pictures that are not what their items say."""
    if as_json:
        paths = {"path": str(report.path), "deleted": [str(folder) for folder in report.deleted]}
        print_json(vars(report) | paths | {"differing": list(report.differing)})
    else:
        linked = f", {report.linked:,} of them unchanged since the backup before" if report.linked else ""
        print(report.path)
        print(f"{_images('holds', report.items)} and {_pictures(report.pictures)}{linked}; verified")
        for folder in report.deleted:
            print(f"deleted {folder}")
        if report.erased:
            print(f"{_images('erased', report.erased)} from earlier backups")
    _print_differing(report.differing)


def print_restore(report: RestoreReport, *, as_json: bool) -> None:
    """Print what was restored, and on stderr what is to be known of it."""
    if as_json:
        paths = {"source": str(report.source), "path": str(report.path)}
        print_json(vars(report) | paths | {"differing": list(report.differing)})
    else:
        print(f"{_images('restored', report.items)} and {_pictures(report.pictures)} from {report.source}")
        if report.removed:
            print(f"{report.removed:,} left out: removed since the backup; --with-removed brings them back")
    if report.unknown_removals:
        print(
            "sal: note: the old gallery could not be read: what was removed from it since the backup is back; remove "
            "it again",
            file=sys.stderr,
        )
    _print_differing(report.differing)


def _print_differing(uris: Sequence[str]) -> None:
    for uri in uris:
        print(f"sal: not the picture that was added: {printable(uri)}", file=sys.stderr)
