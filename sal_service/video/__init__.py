"""From video to a gallery of people.

frame.py      one picture of a camera, and what gives such pictures
sources/      files, folders of frames and cameras as frames
detections.py where people are in a frame
detector/     the user's ONNX file as people in frames
tracker.py    people in frames as tracks
assignment.py the pairs with the greatest total gain
bridge.py     tracks that show the same person one after the other
best_crops.py a few good crops of each track
quality.py    how well a crop shows a person
still.py      where still objects are that look like people
cameras.py    cameras as people write them: source, rate, masks, lines
lines.py      who crosses the lines of a camera
intake.py     crops of people into a gallery, whoever cut them out
people.py     the people of one camera: detections as tracks, tracks as pictures
ingest.py     cameras into a gallery
report.py     what became of all frames and people
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_service.video.best_crops import BestCrop as BestCrop
    from sal_service.video.best_crops import BestCrops as BestCrops
    from sal_service.video.best_crops import CropSettings as CropSettings
    from sal_service.video.bridge import Bridge as Bridge
    from sal_service.video.bridge import BridgeSettings as BridgeSettings
    from sal_service.video.cameras import Camera as Camera
    from sal_service.video.cameras import Line as Line
    from sal_service.video.cameras import read_cameras as read_cameras
    from sal_service.video.detections import Detections as Detections
    from sal_service.video.detector.detector import Detector as Detector
    from sal_service.video.frame import Frame as Frame
    from sal_service.video.frame import FrameSource as FrameSource
    from sal_service.video.ingest import Ingest as Ingest
    from sal_service.video.intake import HeldBackError as HeldBackError
    from sal_service.video.intake import Intake as Intake
    from sal_service.video.intake import KeptCrop as KeptCrop
    from sal_service.video.report import CameraReport as CameraReport
    from sal_service.video.report import IngestReport as IngestReport
    from sal_service.video.sources.opening import open_source as open_source
    from sal_service.video.sources.reading import Reader as Reader
    from sal_service.video.sources.reading import open_reader as open_reader
    from sal_service.video.sources.settings import SourceSettings as SourceSettings
    from sal_service.video.tracker import Tracker as Tracker
    from sal_service.video.tracker import TrackerSettings as TrackerSettings
    from sal_service.video.tracker import Update as Update
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "best_crops": ("BestCrop", "BestCrops", "CropSettings"),
            "bridge": ("Bridge", "BridgeSettings"),
            "cameras": ("Camera", "Line", "read_cameras"),
            "detections": ("Detections",),
            "detector.detector": ("Detector",),
            "frame": ("Frame", "FrameSource"),
            "ingest": ("Ingest",),
            "intake": ("HeldBackError", "Intake", "KeptCrop"),
            "report": ("CameraReport", "IngestReport"),
            "sources.opening": ("open_source",),
            "sources.reading": ("Reader", "open_reader"),
            "sources.settings": ("SourceSettings",),
            "tracker": ("Tracker", "TrackerSettings", "Update"),
        },
    )
