"""What the commands `sal gallery ...` did or found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sal_cli.show.terminal import print_failed, print_json, printable

if TYPE_CHECKING:
    from sal_runtime.archive.ray import ArchiveReport
    from sal_runtime.gallery.comparing import UpdateReport
    from sal_runtime.gallery.reindex import ReindexReport
    from sal_runtime.gallery.status import Status


def print_update(report: UpdateReport, *, as_json: bool) -> None:
    """Print how many images `sal gallery add` added, and on stderr those it skipped."""
    counts = {name: getattr(report, name) for name in ("added", "changed", "removed", "unchanged")}
    if as_json:
        print_json({**counts, "failed": [{"path": path, "reason": reason} for path, reason in report.failed]})
    else:
        print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
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


def print_count(done: str, count: int, *, as_json: bool) -> None:
    """Print how many images were removed, exported or imported; `done` is that word."""
    if as_json:
        print_json({done: count})
    else:
        print(f"{done} {count:,} {'image' if count == 1 else 'images'}")


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
