"""Why a camera gives no video, in words."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from sal_service.video.sources.addresses import why_no_answer, why_no_video
from sal_service.video.sources.arrivals import BUFFERED, skip_buffered
from sal_service.video.sources.settings import SourceSettings
from tests.service.video.simulated_camera import free_port, silent_port


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A port that gives this answer to the first request, and what was asked."""
    asked = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], asked
        thread.join()


@pytest.mark.parametrize(
    ("account", "answer", "words"),
    [
        ("", b"RTSP/1.0 401 Unauthorized\r\n\r\n", "it asks for a user and a password"),
        ("me:secret@", b"RTSP/1.0 401 Unauthorized\r\n\r\n", "it refuses the user or the password"),
        ("", b"RTSP/1.0 404 Not Found\r\n\r\n", "it answers 404 Not Found; check the path"),
        ("", b"RTSP/1.0 503 Service Unavailable\r\n\r\n", "it answers 503 Service Unavailable"),
        ("", b"RTSP/1.0 200 OK\r\n\r\n", "it answers, but no picture of its video can be decoded"),
        ("", b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there does not speak RTSP"),
        ("", b"\xff" * 100, "what answers there does not speak RTSP"),
        ("", b"", "it closed the connection"),
    ],
)
def test_what_a_camera_answers(account: str, answer: bytes, words: str) -> None:
    with answering(answer) as (port, asked):
        assert why_no_video(f"rtsp://{account}127.0.0.1:{port}/a/1?b=2", SourceSettings()) == words
    assert asked[0].startswith(f"DESCRIBE rtsp://127.0.0.1:{port}/a/1?b=2 RTSP/1.0\r\n".encode())
    assert b"secret" not in asked[0]


def test_a_camera_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for why in (why_no_answer, why_no_video):
        assert why(f"rtsp://127.0.0.1:{port}/1", SourceSettings()) == f"nobody listens at port {port} of 127.0.0.1"
    with silent_port() as port:
        monkeypatch.setattr("sal_service.video.sources.addresses.ANSWER_SECONDS", 0.2)
        assert why_no_answer(f"rtsp://127.0.0.1:{port}/1", SourceSettings()) == "it does not answer"


@pytest.mark.parametrize("answer", [b"RTSP/1.0 200 OK\r\n\r\n", b"RTSP/1.0 401 Unauthorized\r\n\r\n"])
def test_a_camera_that_answers_at_all_is_worth_opening(answer: bytes) -> None:
    with answering(answer) as (port, asked):
        assert why_no_answer(f"rtsp://127.0.0.1:{port}/1", SourceSettings()) == ""
    assert asked[0].startswith(b"OPTIONS ")


def test_frames_from_before_the_connection_was_ready_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def arrivals(*steps: tuple[float, float]) -> Iterator[tuple[float, int]]:
        """For each frame, how long it was waited for, and its time within the stream."""
        for number, (wait, stream_time) in enumerate(steps):
            clock[0] += wait
            yield stream_time, number

    troubles = Counter[str]()
    burst = [(0.5, 7.0), (0.001, 7.2), (0.03, 7.4), (0.001, 7.6)]  # at five frames a second
    assert list(skip_buffered(arrivals(*burst, (0.15, 7.8), (0.001, 8.0), (0.2, 8.2)), 2.0, troubles)) == [4, 5, 6]
    assert troubles == {BUFFERED: 4}
    # a camera whose times say nothing, and one that is never waited for
    assert list(skip_buffered(arrivals((0, 0), (0.001, 0), (0.04, 0), (0.04, 0)), 2.0, troubles)) == [2, 3]
    kept = list(skip_buffered(arrivals(*((0.001, number / 5) for number in range(200))), 2.0, troubles))
    assert kept == list(range(60, 200))
