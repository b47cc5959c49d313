"""What `sal ingest` did: lines while it works, a table at its end, and what a detector sees."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sal_cli.show.terminal import console, print_json, printable, table, write_file
from sal_runtime.gallery.moments import moment_text

if TYPE_CHECKING:
    from sal_cli.video import SeenFrame
    from sal_service.video.report import CameraReport, IngestReport

MOST_LOSSES = 5
"""Losses of a camera that are printed; the JSON has more."""


class IngestLines:
    """Says on stderr what happens: each change of a camera in a line, and on a terminal the numbers so far.

    Args:
        quiet: say nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._conditions: dict[int, str] = {}
        self._notes: dict[int, int] = {}
        self._shown = 0

    def tell(self, report: IngestReport) -> None:
        """Show what became of everything so far."""
        if self._quiet:
            return
        for number, camera in enumerate(report.cameras):
            if self._conditions.get(number, camera.condition) != camera.condition:
                self._line(f"sal: {camera.camera}: {condition_words(camera)}")
            self._conditions[number] = camera.condition
            for note in camera.notes[self._notes.get(number, 0) :]:
                self._line(f"sal: {camera.camera}: {note}")
            self._notes[number] = len(camera.notes)
        if sys.stderr.isatty():
            tracks, kept, dropped = (
                sum(getattr(camera, name) for camera in report.cameras) for name in ("tracks", "kept", "dropped")
            )
            done = f"{sum(camera.received for camera in report.cameras):,}"
            if all(camera.expected is not None for camera in report.cameras):
                done += f" of {sum(camera.expected or 0 for camera in report.cameras):,}"
            text = f"{done} frames, {report.frames_per_second:,.0f} a second, {dropped:,} dropped; "
            self._replace(text + f"{tracks:,} people, {kept:,} pictures")

    def __enter__(self) -> IngestLines:
        """The lines themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the numbers away."""
        self._replace("")

    def _line(self, text: str) -> None:
        self._replace("")
        print(printable(text), file=sys.stderr)

    def _replace(self, text: str) -> None:
        if text or self._shown:
            print(f"\r{text:{self._shown}}", end="" if text else "\r", file=sys.stderr, flush=True)
        self._shown = len(text)


def condition_words(camera: CameraReport) -> str:
    """What a source does, for people."""
    if camera.condition == "lost" and camera.losses:
        return f"lost: {camera.losses[-1].reason}"
    return camera.condition


def print_ingest(report: IngestReport, out: Path | None, *, as_json: bool) -> None:
    """Print the report, and write it as JSON if that is wanted.

    Raises:
        SalError: the file cannot be written.
    """
    if out is not None:
        write_file(out, (json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n").encode())
    if as_json:
        print_json(report.to_json())
        return
    rows = table("camera", "seconds", "frames", "dropped", "passed over", "detections", "people", "pictures")
    for camera in report.cameras:
        span = "-" if camera.captured is None else f"{camera.captured[1] - camera.captured[0]:,.1f}"
        counts = (camera.received, camera.dropped, camera.passed_over, camera.people, camera.tracks, camera.kept)
        rows.add_row(printable(camera.camera), span, *(f"{count:,}" for count in counts))
    screen = console()
    screen.print(rows)
    for camera in report.cameras:
        for line in camera_lines(camera):
            screen.print(f"{printable(camera.camera)}: {printable(line)}")
    for line in closing_lines(report):
        screen.print(line)


def camera_lines(camera: CameraReport) -> Iterator[str]:
    """What the table does not say of a camera, a line each."""
    if camera.captured is not None:
        clocks = " and ".join(f"the {clock} clock" for clock in camera.clocks)
        yield f"{moment_text(camera.captured[0])} .. {moment_text(camera.captured[1])}, by {clocks}"
    for count, text in (
        (camera.too_low, "detections of people who are not tall enough"),
        (camera.masked, "detections of people in a mask"),
        (camera.joined, "tracks joined to the person of an earlier one"),
        (camera.still, "tracks of still objects that were known already"),
        (camera.held_back, "pictures held back: they were removed from the gallery before"),
        (camera.refused, "pictures refused by the gallery"),
        (camera.given_up, "pictures LOST: they could not be written"),
    ):
        if count:
            yield f"{count:,} {text}"
    for crossing, count in camera.crossings.items():
        yield f"{count:,} crossed {crossing}"
    for loss in camera.losses[-MOST_LOSSES:]:
        until = "the end" if loss.ended_at is None else moment_text(loss.ended_at)
        yield f"lost from {moment_text(loss.began_at)} until {until}: {loss.reason}"
    for trouble, count in camera.troubles.items():
        yield f"{count:,} x {trouble}"
    yield from camera.notes


def closing_lines(report: IngestReport) -> Iterator[str]:
    """What is said of all cameras together."""
    for detector in report.detectors:
        yield f"detector {printable(detector)}"
    if report.swept:
        yield f"{report.swept:,} pictures of an ingest that was killed had no item, and were deleted"
    for thread in report.stuck:
        yield f"{printable(thread)} is blocked in its library, and ends with its time limit"
    if report.problem:
        yield f"last problem: {printable(report.problem)}"
    rate = f", {report.encoded / report.encode_seconds:,.0f} encoded a second" if report.encode_seconds else ""
    yield f"{report.seconds:,.1f} s, {report.frames_per_second:,.0f} frames a second{rate}"


def print_seen(seen: SeenFrame, *, as_json: bool) -> None:
    """Print what a detector sees in a picture."""
    people = [
        (round(float(score), 3), [round(float(side)) for side in box])
        for box, score in zip(seen.people.boxes, seen.people.scores, strict=True)
    ]
    if as_json:
        listed = [{"score": score, "box": box} for score, box in people]
        print_json(
            {
                "detector": seen.detector,
                "people": listed,
                "counted": len(seen.counted),
                "picture": str(seen.picture),
            }
        )
        return
    rows = table("score", "left", "top", "right", "bottom", "height", left=0)
    for score, (left, top, right, bottom) in people:
        rows.add_row(f"{score:.2f}", *map(str, (left, top, right, bottom, bottom - top)))
    if people:
        console().print(rows)
    print(f"{len(seen.counted)} of {len(people)} are tall and sure enough to count")
    print(f"detector {printable(seen.detector)}")
