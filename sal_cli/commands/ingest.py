"""The command `sal ingest`: cameras and recordings into a gallery of people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sal_cli.options import (
    COMPUTE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    OUTPUT,
    BundleOption,
    JsonOption,
    PrecisionOption,
    check_texts,
    refuse_options,
)
from sal_cli.parsing import CommandModule
from sal_runtime.errors import ConfigError

WHAT, RECORD, KEEP = "What to look at", "What to record", "What to keep"
"""Groups of options in the help."""

app = CommandModule()

SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        show_default=False,
        help="Video files, folders of frames, a device such as /dev/video0, or an address rtsp://...",
    ),
]
GalleryOption = Annotated[
    Path | None,
    typer.Option("--gallery", "-g", help="The gallery file that takes the people; made if there is none."),
]
CameraOption = Annotated[
    str | None,
    typer.Option(
        "--camera", metavar="NAME", rich_help_panel=RECORD, help="The name of the camera. Default: that of the file."
    ),
]
CamerasOption = Annotated[
    Path | None,
    typer.Option(
        "--cameras",
        metavar="FILE",
        rich_help_panel=WHAT,
        help="Read the cameras of this .toml file instead of SOURCE; docs/cameras.md describes it.",
    ),
]
DetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        metavar="FILE",
        rich_help_panel=WHAT,
        help="The person detector, an .onnx file; docs/detectors.md says where to get one.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate", metavar="N", rich_help_panel=WHAT, help="Look at most at N frames a second. Default: at every frame."
    ),
]
CheckOption = Annotated[
    Path | None,
    typer.Option(
        "--check",
        metavar="FRAME",
        rich_help_panel=WHAT,
        help="Only draw what the detector sees in this picture, beside it as FRAME.seen.png.",
    ),
]
ZoneOption = Annotated[
    str | None, typer.Option("--zone", metavar="NAME", rich_help_panel=RECORD, help="Record this zone as metadata.")
]
ClockOption = Annotated[
    Literal["arrival", "camera"] | None,
    typer.Option(
        "--clock",
        rich_help_panel=RECORD,
        help="Record when frames of a live camera arrive, or what its own clock says. Default: arrival.",
    ),
]
StartedOption = Annotated[
    str | None,
    typer.Option(
        "--started-at",
        metavar="MOMENT",
        rich_help_panel=RECORD,
        help="Say when a recording began, such as 2026-11-23T14:00. Default: when its file was written, minus its "
        "length.",
    ),
]
KeepOption = Annotated[
    int | None, typer.Option("--keep", metavar="N", rich_help_panel=KEEP, help="Pictures of each person. Default: 3.")
]
MinHeightOption = Annotated[
    int | None,
    typer.Option(
        "--min-height", metavar="PIXELS", rich_help_panel=KEEP, help="Leave out people lower than this. Default: 48."
    ),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(
        "--min-score", metavar="SCORE", rich_help_panel=KEEP, help="Leave out less sure detections. Default: 0.4."
    ),
]
NoCropsOption = Annotated[bool, typer.Option("--no-crops", rich_help_panel=KEEP, help="Keep no pictures of people.")]
ThumbnailsOption = Annotated[
    bool, typer.Option("--thumbnails", rich_help_panel=KEEP, help="Keep pictures of at most 96 pixels height.")
]
DeviceOption = Annotated[
    Literal["cpu", "cuda", "trt"],
    typer.Option("--device", rich_help_panel=COMPUTE, help="Detect and encode on this device, or fail."),
]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", rich_help_panel=OUTPUT, help="Also write the report as JSON."),
]


@app.command(epilog="See also: docs/cameras.md, docs/detectors.md, sal gallery purge")
def ingest(  # noqa: PLR0913 - one parameter is one option
    sources: SourcesArgument = None,
    gallery: GalleryOption = None,
    cameras: CamerasOption = None,
    detector: DetectorOption = None,
    rate: RateOption = None,
    check: CheckOption = None,
    camera: CameraOption = None,
    zone: ZoneOption = None,
    clock: ClockOption = None,
    started_at: StartedOption = None,
    keep: KeepOption = None,
    min_height: MinHeightOption = None,
    min_score: MinScoreOption = None,
    no_crops: NoCropsOption = False,
    thumbnails: ThumbnailsOption = False,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Find the people in video, and add a few good pictures of each to a gallery.

    A recording is looked at frame by frame. A live camera is followed until Ctrl-C: the newest frame counts, and what
    is dropped or lost is counted and reported.

    ```
    sal ingest yard.avi --gallery yard.sal --camera yard --detector yolox.onnx
    sal ingest rtsp://10.0.0.7/stream --gallery yard.sal --camera door \
        --detector yolox.onnx
    sal ingest --cameras cameras.toml --gallery yard.sal --detector yolox.onnx
    sal search 'woman in a red top' yard.sal --by-track
    ```

    See first what the detector sees in a picture:

    ```
    sal ingest --check frame.jpg --detector yolox.onnx
    ```
    """
    from sal_cli.show.ingest import IngestLines, print_ingest, print_seen
    from sal_cli.video import CameraOptions, IngestRequest, ingest_cameras, look_through

    options = CameraOptions(camera, zone, rate, clock, started_at, keep, min_height, min_score)
    check_texts({"--camera": [camera or ""], "--zone": [zone or ""]})
    if check is not None:
        refuse_options({"SOURCE": sources, "--gallery": gallery, "--cameras": cameras}, "--check only draws a picture")
        print_seen(look_through(check, detector, device, options), as_json=as_json)
        return
    if no_crops and thumbnails:
        raise ConfigError("--no-crops and --thumbnails exclude each other; leave one of them out")
    pictures: Literal["full", "thumbnail", "none"] = "none" if no_crops else "thumbnail" if thumbnails else "full"
    request = IngestRequest(gallery, sources or [], options, cameras, detector, bundle, device, precision, pictures)
    with IngestLines(quiet=as_json) as lines:
        done = ingest_cameras(request, lines.tell)
    print_ingest(done.report, report, as_json=as_json)
    if done.interrupted or not done.report.is_complete:
        raise typer.Exit(EXIT_INTERRUPTED if done.interrupted else EXIT_FAILED)
