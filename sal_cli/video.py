"""Cameras and recordings into a gallery by name, and a look through a detector's eyes."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from sal_cli.filling import open_to_fill
from sal_cli.options import refuse_options
from sal_cli.show.terminal import write_file
from sal_runtime.arrays import Precision
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import ConfigError, InputError
from sal_runtime.gallery.choices import choose_bundle_path, choose_precision
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.moments import parse_moment
from sal_runtime.gallery.protocol import is_collection
from sal_runtime.images.pixels import decode_image, read_file
from sal_service.video.cameras import Camera, read_cameras
from sal_service.video.detections import Detections
from sal_service.video.detector.detector import Detector
from sal_service.video.detector.draw import draw_detections
from sal_service.video.ingest import LOWEST_SCORE, Ingest, in_words
from sal_service.video.intake import Pictures
from sal_service.video.report import IngestReport
from sal_service.video.sources.settings import AskedClock

NOT_IN_A_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class CameraOptions:
    """What options say of all sources; None leaves it as it is."""

    camera: str | None = None
    zone: str | None = None
    rate: float | None = None
    clock: AskedClock | None = None
    started_at: str | None = None
    keep: int | None = None
    min_height: int | None = None
    min_score: float | None = None


@dataclass(frozen=True)
class IngestRequest:
    """What to ingest, and how.

    Attributes:
        gallery: the file, made if there is none; None is an error.
        sources: what to look at; empty with a file of cameras.
        options: of all sources.
        cameras: a file that names the cameras instead.
        detector: of all cameras that have none of their own.
        bundle: None takes the default; see `choose_bundle_path`.
        device: of detectors and encoder.
        precision: None takes that of the gallery, or fp32 for a new one.
        pictures: what is kept beside the gallery.
    """

    gallery: Path | None
    sources: Sequence[str]
    options: CameraOptions
    cameras: Path | None
    detector: Path | None
    bundle: Path | None
    device: str
    precision: Precision | None
    pictures: Pictures


@dataclass(frozen=True)
class Ingested:
    """What an ingest did, and whether Ctrl-C ended it."""

    report: IngestReport
    interrupted: bool


@dataclass(frozen=True)
class SeenFrame:
    """What a detector sees in one picture.

    Attributes:
        detector: in words.
        people: everybody it found, however small or unsure.
        counted: those of them who would count in an ingest.
        picture: where they are drawn.
    """

    detector: str
    people: Detections
    counted: Detections
    picture: Path


def ingest_cameras(request: IngestRequest, tell: Callable[[IngestReport], None]) -> Ingested:
    """Take cameras into a gallery file until they end, or until Ctrl-C or SIGTERM.

    Args:
        request: what to do.
        tell: called about twice a second with what became of everything so far.

    Raises:
        ConfigError: there is no gallery, no source or no detector; options contradict a file of cameras; or the
            settings of a camera are wrong.
        InputError: a source, a detector or the gallery cannot be used.
        BackendError: a device or a library cannot be had.
    """
    gallery, device = request.gallery, request.device
    cameras = _cameras(request)
    if gallery is None:
        raise ConfigError("got no gallery to add people to; name one with --gallery yard.sal")
    if gallery.is_dir() or is_collection(str(gallery)):
        raise InputError(f"{gallery}: expected a gallery file, such as yard.sal, to add people to")

    @cache
    def open_detector(path: Path) -> Detector:
        return Detector(path, device=device, min_score=LOWEST_SCORE, min_height=0, threads=1)

    def detector_for(camera: Camera) -> Detector:
        return open_detector(_detector_path(camera, request.detector))

    for camera in cameras:
        detector_for(camera)  # before a gallery is made
    with open_to_fill(str(gallery), request.bundle, request.precision or "fp32") as opened:
        assert isinstance(opened, Gallery)
        bundle = open_bundle(choose_bundle_path(request.bundle, opened))
        # one thread: the detector needs the others, and a few pictures of a person are soon encoded
        precision = choose_precision(request.precision, opened)
        encoder = ImageEncoder(bundle, device=device, precision=precision, threads=1)
        ingest = Ingest(cameras, opened, encoder, detector_for, pictures=request.pictures)
        with _stopped_by_signals(ingest) as received:
            return Ingested(ingest.run(tell), signal.SIGINT in received)


def _cameras(request: IngestRequest) -> tuple[Camera, ...]:
    if request.cameras is None:
        return cameras_of(request.sources, request.options)
    given = {
        f"--{field.name.replace('_', '-')}": getattr(request.options, field.name) for field in fields(CameraOptions)
    }
    given = {"SOURCE": request.sources, **given}
    refuse_options(given, f"the cameras are those of {request.cameras}; write it there")
    return read_cameras(request.cameras)


def cameras_of(sources: Sequence[str], options: CameraOptions) -> tuple[Camera, ...]:
    """A camera for each source; a recording is named after its file unless a name is given.

    Raises:
        ConfigError: there is no source, or a live one without a name.
    """
    if not sources:
        raise ConfigError("got nothing to look at; expected video files, folders of frames, or addresses of cameras")
    live = [source for source in sources if "://" in source]
    if live:
        refuse_options({"--started-at": options.started_at}, "a live camera has begun when it is connected")
    if live and options.camera is None:
        raise ConfigError("a live camera needs a name; give it with --camera door")
    if len(live) > 1:
        raise ConfigError("several live cameras need a name each; write them into a file for --cameras")
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    if options.started_at is not None:
        given["started_at"] = parse_moment(options.started_at)
    given = {name: value for name, value in given.items() if name != "camera" and value is not None}
    return tuple(Camera(options.camera or _name_of(source), source, **given) for source in sources)


def _name_of(source: str) -> str:
    return NOT_IN_A_NAME.sub("-", Path(source).resolve().stem).strip("-._") or "camera"


def _detector_path(camera: Camera, shared: Path | None) -> Path:
    if camera.detector is not None:
        return Path(camera.detector)
    if shared is None:
        raise ConfigError(
            "got no detector of people; name an .onnx file with --detector (docs/detectors.md says where to get one)"
        )
    return shared


@contextmanager
def _stopped_by_signals(ingest: Ingest) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM stop an ingest in order; a second Ctrl-C ends the process. Gives what was received."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        if number in received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        ingest.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def look_through(picture: Path, detector: Path | None, device: str, options: CameraOptions) -> SeenFrame:
    """Draw what a detector sees in a picture, into a file beside it.

    Raises:
        ConfigError: there is no detector.
        InputError: the picture or the detector cannot be used.
        SalError: the drawing cannot be written.
    """
    (camera,) = cameras_of([str(picture)], options)
    opened = Detector(_detector_path(camera, detector), device=device, min_score=LOWEST_SCORE, min_height=0)
    image = np.ascontiguousarray(decode_image(read_file(picture)[0])[:, :, ::-1])
    (people,) = opened.detect([image])
    tall = camera.tall(people)
    drawn = draw_detections(image, people, min_score=camera.min_score, min_height=camera.min_height)
    out = picture.with_name(picture.stem + ".seen.png")
    write_file(out, cv2.imencode(".png", drawn)[1].tobytes())
    return SeenFrame(in_words(opened), people, tall.where(tall.scores >= camera.min_score), out)
