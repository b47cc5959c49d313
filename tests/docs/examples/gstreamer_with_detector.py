"""gstreamer_branch.py with a camera and a detector of known people; runs in the system's Python, without sal."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "docs" / "examples" / "pipelines"))
import gstreamer_branch as program
from gi.repository import Gst, GstVideo

WIDTH, HEIGHT = 101, 60
STRIDES = {"BGR": 304, "BGRx": 404}
"""Bytes of a row by format: GStreamer rounds them up to a multiple of 4."""
PEOPLE = (  # label, track, colour in RGB, left, top, width, height
    ("person", 17, (200, 10, 30), 10, 5, 20, 40),
    ("person", 0, (20, 120, 220), 95, 20, 20, 40),  # reaches out of the picture
    ("car", 3, (0, 0, 0), 40, 30, 20, 10),
)


def frame(layout: str) -> Gst.Buffer:
    stride, step = STRIDES[layout], len(layout)
    pixels = bytearray(b"\x80" * stride * HEIGHT)
    for _, _, colour, left, top, width, height in PEOPLE:
        width = min(width, WIDTH - left)
        for row in range(top, min(top + height, HEIGHT)):
            begin = stride * row + step * left
            pixels[begin : begin + step * width] = bytes((*colour[::-1], 0)[:step]) * width
    buffer = Gst.Buffer.new_wrapped(bytes(pixels))
    for label, track, _, *place in PEOPLE:
        region = GstVideo.buffer_add_video_region_of_interest_meta(buffer, label, *place)
        if track:
            region.add_param(Gst.Structure.new_from_string(f"object_id, id=(int){track}"))
    return buffer


def with_camera(launch: str) -> Gst.Pipeline:
    pipeline = parse_launch(launch)
    camera = pipeline.get_by_name("camera")
    camera.emit("push-buffer", frame(sys.argv[1]))
    camera.emit("end-of-stream")
    return pipeline


parse_launch, Gst.parse_launch = Gst.parse_launch, with_camera
program.EVERY = 0
program.main(
    f"appsrc name=camera format=time caps=video/x-raw,format={sys.argv[1]},width={WIDTH},height={HEIGHT},"
    "framerate=10/1 ! appsink name=people"
)
