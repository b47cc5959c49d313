"""docs/examples/pipelines/gstreamer.py: lines as data, and pipelines of the system's GStreamer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.examples.pipelines.gstreamer import people
from sal_runtime.images.pixels import decode_image
from tests.docs.examples.programs import LONG, MESSAGES, PIPELINES, items_of, pictures_of, running

LINE = (MESSAGES / "gstreamer_person.json").read_bytes()
AT = json.loads(LINE)["captured_at"]
NOW = AT + 1
PYTHON = shutil.which("python3", path="/usr/bin") or ""
IMPORTS = "import gi; gi.require_version('GstVideo', '1.0'); from gi.repository import GstVideo"
needs_gstreamer = pytest.mark.skipif(
    not PYTHON or subprocess.run([PYTHON, "-c", IMPORTS], capture_output=True, check=False).returncode != 0,
    reason="needs python3-gi and gir1.2-gst-plugins-base-1.0 (scripts/prepare_system.sh installs them)",
)


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(LINE) | values).encode()


def test_a_line_is_a_person_with_its_pixels() -> None:
    [person], problems = people(LINE, "door", NOW)
    assert problems == []
    assert np.array_equal(person.pop("crop"), np.arange(18, dtype=np.uint8).reshape(3, 2, 3))
    assert person == {
        "camera": "door",
        "track": "17",
        "captured_at": AT,
        "box": (10, 5, 2, 3),
        "metadata": {"clock": "arrival"},
    }


def test_what_is_no_person_is_no_problem() -> None:
    assert people(changed(label="car"), "door", NOW) == ([], [])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"\n", "not a line of a person"),
        (b"0:00:01 WARN something\n", "not a line of a person"),
        (b"[]\n", "not a line of a person"),
        (changed(pixels="?"), "not a line of a person"),
        (changed(pixels="AAAA"), "a person of 2 x 3 pixels with 3 bytes"),
        (changed(box=[0, 0, 0, 0], pixels=""), "a person of 0 x 0 pixels with 0 bytes"),
        (changed(box=[1, 2]), "not a line of a person"),
        (LINE.replace(b"[10,", b"[1e999,"), "not a line of a person"),
    ],
)
def test_a_line_that_gives_nobody_says_why(line: bytes, problem: str) -> None:
    found, problems = people(line, "door", NOW)
    assert found == []
    assert [text[: len(problem)] for text in problems] == [problem]


@pytest.mark.parametrize("moment", [AT + 3600, float("nan"), float("-inf")])
def test_a_wrong_clock_is_not_believed(moment: float) -> None:
    [person], [problem] = people(changed(captured_at=moment), "door", NOW)
    assert person["captured_at"] == NOW
    assert problem.endswith("the moment now is recorded instead")


def test_any_command_may_write_the_lines(tmp_path: Path) -> None:
    place = json.loads(LINE)["box"]
    others = [changed(track=17), changed(track=None), changed(track=None, box=[place[0] + 9, *place[1:]])]
    lines = [LINE, LINE, b"no JSON\n", changed(label="car"), *others]
    script = tmp_path / "lines"
    script.write_bytes(b"\n".join(line.strip() for line in lines) + b"\n")
    with running("gstreamer.py", tmp_path / "yard.sal", "door", "cat", script) as program:
        printed, log = program.communicate(timeout=LONG)
    assert program.returncode == 0
    assert "kept=5" in printed
    assert [line[:43] for line in log.splitlines()] == ["WARNING:root:not a line of a person (JSONDe"]
    tracks = sorted(item.track or "" for item in items_of(tmp_path / "yard.sal"))
    assert tracks == ["17", f"untracked-{AT:.3f}-10-5", f"untracked-{AT:.3f}-19-5"]


@needs_gstreamer
@pytest.mark.parametrize("layout", ["BGR", "BGRx"])
def test_people_of_a_pipeline_come_into_a_gallery_with_their_colours(layout: str, tmp_path: Path) -> None:
    yard, branch = tmp_path / "yard.sal", Path(__file__).with_name("gstreamer_with_detector.py")
    with running("gstreamer.py", yard, "door", PYTHON, branch, layout) as program:
        printed, log = program.communicate(timeout=LONG)
    assert (program.returncode, log) == (0, "")
    assert "kept=2" in printed
    items = sorted(items_of(yard), key=lambda item: item.box or (0, 0, 0, 0))
    assert [item.box for item in items] == [(10, 5, 20, 40), (95, 20, 6, 40)]
    tracked, untracked = (item.track or "" for item in items)
    assert re.fullmatch(r"\d{8}T\d{6}Z-17", tracked)
    assert untracked.startswith("untracked-")
    colours = [decode_image(path.read_bytes()).mean(axis=(0, 1)).round() for path in pictures_of(yard)]
    assert np.abs(np.array(colours) - [(200, 10, 30), (20, 120, 220)]).max() < 4


@needs_gstreamer
@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ("videotestsrc ! nothing", 'not a pipeline: no element "nothing"'),
        ("videotestsrc ! fakesink", "the pipeline has no `appsink name=people`"),
        ("filesrc name=camera location=/nowhere ! decodebin ! appsink name=people", "camera: Resource not found."),
    ],
)
def test_a_pipeline_that_cannot_run_says_why_and_ends(launch: str, message: str, tmp_path: Path) -> None:
    with running(
        "gstreamer.py", tmp_path / "yard.sal", "door", PYTHON, PIPELINES / "gstreamer_branch.py", launch
    ) as program:
        printed, log = program.communicate(timeout=LONG)
    assert program.returncode == 1
    assert message in log
    assert "submitted=0" in printed
