"""People whom a DeepStream pipeline tracked, into a gallery.

    python docs/examples/pipelines/deepstream.py yard.sal INFER.yml TRACKER.yml door=rtsp://... gate=rtsp://...

Runs where DeepStream 9 with its Service Maker is installed (the older bindings, pyds, are no longer shipped), and sal
and PyTorch beside it. INFER.yml configures nvinfer; one of its labels is `person`. TRACKER.yml configures nvtracker,
like DeepStream's config_tracker_NvDCF_perf.yml. One frame in ten is looked at, so that a person gives some crops and
not hundreds. Nobody has run this on a GPU: we know DeepStream from its documentation and its source only.

Moments are by the clock of this machine when a frame reached nvstreammux (its `attach-sys-ts`, which is the default).
"""

import logging
import signal
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime import Gallery, ImageEncoder, open_bundle
from sal_runtime.arrays import UInt8Array
from sal_service.video import Intake, KeptCrop

Person = dict[str, Any]  # the arguments of Intake.submit
Message = dict[str, Any]  # what DeepStream says of a frame
EARLIEST, AHEAD = 1.6e9, 5.0  # no clock is right that is before September 2020, or so many seconds ahead of ours
EVERY, MOST_WAITING = 10, 64  # frames, crops
UNTRACKED = 2**64 - 1
TRACKER = "/opt/nvidia/deepstream/deepstream/lib/libnvds_nvmultiobjecttracker.so"


def described(frame: Any) -> Message:
    """What a FrameMetadata of Service Maker says, as data."""
    objects = []
    for found in frame.object_items:
        place = found.rect_params
        box = [place.left, place.top, place.width, place.height]
        objects.append({"label": found.label, "track": found.object_id, "box": box})
    return {"source": frame.pad_index, "ntp_timestamp": frame.ntp_timestamp, "objects": objects}


def people(message: Message, frame: UInt8Array, cameras: list[str], now: float) -> tuple[list[Person], list[str]]:
    """The people of a frame, uint8 RGB `[H, W, 3]`, and what is wrong with the message, if anything is."""
    found: list[Person] = []
    problems: list[str] = []
    camera, moment = cameras[message["source"]], message["ntp_timestamp"] / 1e9
    if not EARLIEST < moment < now + AHEAD:
        problems.append(f"camera {camera}: the clock says {moment}; the moment now is recorded instead")
        moment = now
    for person in message["objects"]:
        if person["label"] != "person":
            continue
        left, top, width, height = (round(side) for side in person["box"])
        right, bottom, left, top = left + width, top + height, max(0, left), max(0, top)
        crop = np.ascontiguousarray(frame[top : max(0, bottom), left : max(0, right), ::-1])
        if crop.size == 0:
            problems.append(f"camera {camera}: a person outside of the picture, at {person['box']}")
            continue
        track = str(person["track"])
        if person["track"] == UNTRACKED:
            track = f"untracked-{moment:.3f}-{left}-{top}"  # so that it is an item of its own
        known = {"camera": camera, "track": track, "captured_at": moment, "metadata": {"clock": "arrival"}}
        found.append(known | {"crop": crop, "box": (left, top, crop.shape[1], crop.shape[0])})
    return found, problems


def report(answer: Future[KeptCrop]) -> None:
    """Called when the gallery holds a crop, or is not going to."""
    if (error := answer.exception()) is not None:
        logging.warning("%s", error)


def main(path: Path, infer: str, tracker: str, sources: list[str]) -> None:
    """Fill a gallery until the sources end; Ctrl-C kills, and the gallery keeps what it holds."""
    import torch
    from pyservicemaker import BufferRetriever, Flow, Pipeline

    cameras, addresses = zip(*(source.split("=", 1) for source in sources), strict=True)

    class Branch(BufferRetriever):  # type: ignore[misc]
        def consume(self, buffer: Any) -> int:
            for frame in buffer.batch_meta.frame_items:
                if frame.frame_number % EVERY or not (message := described(frame))["objects"]:
                    continue
                if intake.counts.unsettled > MOST_WAITING:
                    logging.warning("frame %d is left out: %s", frame.frame_number, intake.counts)
                    continue
                pixels = torch.utils.dlpack.from_dlpack(buffer.extract(frame.batch_id)).cpu().numpy()
                found, problems = people(message, pixels, list(cameras), time.time())
                for problem in problems:
                    logging.warning("%s", problem)
                for person in found:
                    intake.submit(**person).add_done_callback(report)
            return 1

    bundle = open_bundle()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with (
        Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle) as gallery,
        Intake(gallery, ImageEncoder(bundle)) as intake,
    ):
        live = any(address.startswith("rtsp://") for address in addresses)
        flow = Flow(Pipeline("sal")).batch_capture(list(addresses), live_source=live).infer(infer)
        flow.track(ll_config_file=tracker, ll_lib_file=TRACKER).retrieve(Branch())()
    print(intake.counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
