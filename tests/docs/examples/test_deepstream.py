"""docs/examples/pipelines/deepstream.py: what DeepStream says as data, and stand-ins for its Python modules.

The stand-ins have the names that the source of Service Maker 9.2 has (src/service-maker/sources/python); what they
prove is that the program hands over what they give, and not that DeepStream gives it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from docs.examples.pipelines.deepstream import UNTRACKED, described, main, people
from sal_runtime.images.pixels import decode_image
from tests.docs.examples.programs import MESSAGES, items_of, pictures_of

FRAME = json.loads((MESSAGES / "deepstream_frame.json").read_bytes())
AT = FRAME["ntp_timestamp"] / 1e9
NOW = AT + 1
CAMERAS = ["door", "gate"]
PIXELS = np.random.default_rng(7).integers(0, 256, (200, 300, 3), np.uint8)
"""RGB."""


def test_people_are_cut_out_of_the_frame_and_turned_to_bgr() -> None:
    found, problems = people(FRAME, PIXELS, CAMERAS, NOW)
    assert problems == ["camera gate: a person outside of the picture, at [900.0, 10.0, 30.0, 60.0]"]
    first, second = found
    assert np.array_equal(first.pop("crop"), PIXELS[50:140, 100:140, ::-1])
    assert np.array_equal(second.pop("crop"), PIXELS[10:70, 0:22, ::-1])  # what of them is in the picture
    known = {"camera": "gate", "captured_at": AT, "metadata": {"clock": "arrival"}}
    assert first == known | {"track": "17", "box": (100, 50, 40, 90)}
    assert second == known | {"track": f"untracked-{AT:.3f}-0-10", "box": (0, 10, 22, 60)}


@pytest.mark.parametrize("nanoseconds", [0, 10**18, int((NOW + 3600) * 1e9)])
def test_a_wrong_clock_is_not_believed(nanoseconds: int) -> None:
    found, problems = people(FRAME | {"ntp_timestamp": nanoseconds}, PIXELS, CAMERAS, NOW)
    assert {person["captured_at"] for person in found} == {NOW}
    assert problems[0].endswith("the moment now is recorded instead")


def frame_metadata(number: int, labels: list[str]) -> SimpleNamespace:
    objects = [
        SimpleNamespace(
            label=label, object_id=5 + row, rect_params=SimpleNamespace(left=10, top=20, width=30, height=60)
        )
        for row, label in enumerate(labels)
    ]
    return SimpleNamespace(
        frame_number=number, pad_index=1, batch_id=0, ntp_timestamp=time.time_ns(), object_items=iter(objects)
    )


def test_a_frame_as_data() -> None:
    message = described(frame_metadata(0, ["person", "bag"]))
    assert json.loads(json.dumps(message)) == message
    assert message["source"] == 1
    assert message["objects"][0] == {"label": "person", "track": 5, "box": [10, 20, 30, 60]}
    assert UNTRACKED == 0xFFFFFFFFFFFFFFFF


class Flow:
    """Gives four frames to what retrieves them: one with nobody, and one that is not looked at."""

    calls: list[tuple[str, Any]]

    def __init__(self, pipeline: object) -> None:
        self.calls.append(("pipeline", pipeline))

    def __getattr__(self, step: str) -> Any:
        def call(*arguments: Any, **settings: Any) -> Flow:
            self.calls.append((step, (*arguments, settings)))
            return self

        return call

    def __call__(self) -> None:
        retriever = self.calls[-1][1][0]
        for number, labels in ((0, ["person"]), (7, ["person"]), (10, []), (20, ["person", "bag"])):
            meta = SimpleNamespace(frame_items=iter([frame_metadata(number, labels)]))
            assert retriever.consume(SimpleNamespace(batch_meta=meta, extract=lambda _: PIXELS)) == 1
            time.sleep(0.01)


def test_a_pipeline_fills_a_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = ModuleType("pyservicemaker")
    maker.__dict__.update(BufferRetriever=object, Flow=Flow, Pipeline=str)
    monkeypatch.setitem(sys.modules, "pyservicemaker", maker)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(Flow, "calls", [], raising=False)
    monkeypatch.delenv("SAL_BUNDLE", raising=False)
    main(tmp_path / "yard.sal", "infer.yml", "tracker.yml", ["door=rtsp://a/1?x=2", "gate=rtsp://b"])
    assert "kept=2" in capsys.readouterr().out
    assert [step for step, _ in Flow.calls] == ["pipeline", "batch_capture", "infer", "track", "retrieve"]
    assert Flow.calls[1][1] == (["rtsp://a/1?x=2", "rtsp://b"], {"live_source": True})
    items = items_of(tmp_path / "yard.sal")
    assert {(item.camera, item.track, item.box) for item in items} == {("gate", "5", (10, 20, 30, 60))}
    picture = decode_image(pictures_of(tmp_path / "yard.sal")[0].read_bytes())
    assert np.abs(picture.astype(int).mean(axis=(0, 1)) - PIXELS[20:80, 10:40].mean(axis=(0, 1))).max() < 3
