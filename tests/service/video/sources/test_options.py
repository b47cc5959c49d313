"""Options for FFmpeg inside OpenCV: one variable of the process, which is the user's, too."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import pytest

from sal_runtime.errors import InputError
from sal_service.video.sources import options
from sal_service.video.sources.opening import open_source
from sal_service.video.sources.options import VARIABLE, address_options, merged, opening
from sal_service.video.sources.settings import SourceSettings
from tests.service.video.sources.pictures import draw_video
from tests.service.video.sources.test_live import DEADLINE, until

ADDRESS = "rtsp://10.0.0.7/1"


def test_addresses_are_read_over_tcp_and_can_lead_nowhere_else() -> None:
    text = merged(address_options(ADDRESS, SourceSettings()), None)
    assert text.startswith("rtsp_transport;tcp|protocol_whitelist;rtsp,rtp,tcp,udp,tls|")
    assert "tls_verify" not in text


def test_certificates_are_verified_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = tmp_path / "camera.pem"
    authorities.touch()
    address = "rtsps://10.0.0.7/1"
    found = address_options(address, SourceSettings(tls_authorities=authorities))
    assert (found["tls_verify"], found["ca_file"]) == ("1", str(authorities))
    assert address_options(address, SourceSettings(tls_verify=False))["tls_verify"] == "0"
    monkeypatch.setattr("sal_service.video.sources.options.system_authorities", lambda: None)
    with pytest.raises(InputError, match="no file of trusted certificates") as caught:
        address_options(address, SourceSettings())
    assert caught.value.parameter == "tls_authorities"


def test_the_users_own_value_wins_and_is_there_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "rtsp_transport;udp|buffer_size;100000")
    with opening({"rtsp_transport": "tcp", "fpsprobesize": "0"}):
        assert os.environ[VARIABLE] == "rtsp_transport;udp|fpsprobesize;0|buffer_size;100000"
    assert os.environ[VARIABLE] == "rtsp_transport;udp|buffer_size;100000"
    monkeypatch.delenv(VARIABLE)
    with opening({"rtsp_transport": "tcp"}):
        assert os.environ[VARIABLE] == "rtsp_transport;tcp"
    assert VARIABLE not in os.environ


def test_the_options_of_an_address_refuse_a_file(tmp_path: Path) -> None:
    video = draw_video(tmp_path / "yard.avi", 2)
    with opening(address_options(ADDRESS, SourceSettings())):
        assert not cv2.VideoCapture(str(video), cv2.CAP_FFMPEG).isOpened()
    assert len(list(open_source(video).frames())) == 2


def test_one_opening_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    leave, order = threading.Event(), list[str]()

    def hold(name: str) -> None:
        with opening({"rtsp_transport": name}):
            order.append(os.environ[VARIABLE])
            leave.wait(DEADLINE)

    monkeypatch.delenv(VARIABLE, raising=False)
    threads = [threading.Thread(target=hold, args=(name,)) for name in ("tcp", "udp")]
    threads[0].start()
    until(lambda: len(order) == 1)
    threads[1].start()
    with pytest.raises(InputError, match="it was not opened"), opening({}, is_wanted=lambda: False):
        pass
    monkeypatch.setattr(options, "TURN_SECONDS", 0.01)
    with pytest.raises(InputError, match="others took long"), opening({}):
        pass
    assert order == ["rtsp_transport;tcp"]
    leave.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert order == ["rtsp_transport;tcp", "rtsp_transport;udp"]
    assert VARIABLE not in os.environ
