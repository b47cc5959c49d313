"""Cuts people out of the frames of a GStreamer pipeline, and writes them to its standard output, one a line.

    /usr/bin/python3 docs/examples/pipelines/gstreamer_branch.py 'PIPELINE ! appsink name=people'

gstreamer.py starts it. It runs in a Python that has PyGObject (Debian: python3-gi gir1.2-gst-plugins-base-1.0), and
needs nothing of sal. A line is a JSON object: label, track, captured_at, box, and pixels (base64, BGR, no padding).
"""

import base64
import ctypes
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstVideo  # noqa: E402

EVERY = 1.0  # seconds from one frame that is looked at to the next
BEGAN = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())  # trackers count from 1 again at every start
core, video = ctypes.CDLL("libgstreamer-1.0.so.0"), ctypes.CDLL("libgstvideo-1.0.so.0")
for function in (core.gst_buffer_iterate_meta_filtered, video.gst_video_region_of_interest_meta_get_param):
    function.restype = ctypes.c_void_p
video.gst_video_region_of_interest_meta_api_get_type.restype = ctypes.c_size_t


class Region(ctypes.Structure):
    """GstVideoRegionOfInterestMeta, which detectors and trackers attach to a buffer; PyGObject cannot list them."""

    _fields_ = (
        ("flags", ctypes.c_uint),
        ("info", ctypes.c_void_p),
        *((name, ctypes.c_uint) for name in ("label", "number", "parent", "x", "y", "width", "height")),
    )


def regions(buffer: Gst.Buffer) -> Iterator[tuple[Region, int]]:
    """The regions of a frame with the numbers of their tracks, as Intel's DL Streamer gives them; 0 is none."""
    state, track = ctypes.c_void_p(), ctypes.c_int()
    kind = ctypes.c_size_t(video.gst_video_region_of_interest_meta_api_get_type())
    address = ctypes.c_void_p(hash(buffer))
    while found := core.gst_buffer_iterate_meta_filtered(address, ctypes.byref(state), kind):
        given = video.gst_video_region_of_interest_meta_get_param(ctypes.c_void_p(found), b"object_id")
        track.value = 0
        if given:
            core.gst_structure_get_int(ctypes.c_void_p(given), b"id", ctypes.byref(track))
        yield Region.from_address(found), track.value


def lines(sample: Gst.Sample, now: float) -> Iterator[str]:
    """The people of a frame, one a line."""
    layout = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
    step = layout.finfo.pixel_stride[0]
    buffer = sample.get_buffer()
    _, mapped = buffer.map(Gst.MapFlags.READ)
    frame = mapped.data
    for region, track in regions(buffer):
        left, top = region.x, region.y
        right, bottom = min(left + region.width, layout.width), min(top + region.height, layout.height)
        rows = (layout.offset[0] + layout.stride[0] * row for row in range(top, bottom))
        pixels = bytearray(b"".join(frame[row + step * left : row + step * right] for row in rows))
        if step > len("BGR"):
            del pixels[3::step]
        person = {"label": GLib.quark_to_string(region.label), "track": f"{BEGAN}-{track}" if track else None}
        person |= {"captured_at": now, "box": [left, top, max(0, right - left), max(0, bottom - top)]}
        yield json.dumps(person | {"pixels": base64.b64encode(pixels).decode()})
    buffer.unmap(mapped)


def main(launch: str) -> None:
    """Run a pipeline until it ends. Frames that come faster than they are taken are dropped: nothing waits for sal."""
    Gst.init(None)
    try:
        pipeline = Gst.parse_launch(launch)
    except GLib.Error as error:
        sys.exit(f"not a pipeline: {error.message}")
    if (sink := pipeline.get_by_name("people")) is None:
        sys.exit("the pipeline has no `appsink name=people`")
    sink.set_property("caps", Gst.Caps.from_string("video/x-raw,format={BGRx,BGRA,BGR}"))
    sink.set_property("max-buffers", 1)
    sink.set_property("drop", True)
    pipeline.set_state(Gst.State.PLAYING)
    bus, ends = pipeline.get_bus(), Gst.MessageType.ERROR | Gst.MessageType.EOS
    while (end := bus.pop_filtered(ends)) is None:
        if (sample := sink.emit("try-pull-sample", Gst.SECOND)) is not None:
            for line in lines(sample, time.time()):
                print(line, flush=True)
            time.sleep(EVERY)
    pipeline.set_state(Gst.State.NULL)
    if end.type == Gst.MessageType.ERROR:
        sys.exit(f"{end.src.name}: {end.parse_error()[0].message}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
