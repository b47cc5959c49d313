"""A camera to read from: GStreamer's RTSP server in a process of its own, and a line to it that can fail.

It plays a few seconds of a video again and again, in real time and without encoding, so it costs almost no processor
time. It needs packages of Debian for /usr/bin/python3, which `scripts/prepare_system.sh PYTHON tests` installs. Run by
that Python, this file is the server; it imports nothing but the standard library and those packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

SYSTEM_PYTHON = "/usr/bin/python3"
WIDTH, HEIGHT = 320, 240
CLIP_FRAMES = 60
ONCE_SECONDS = 4
START_SECONDS = 20
_CLIP = "video/x-h264,stream-format=byte-stream,alignment=au"
_FALSE_START = "the simulated camera did not start"


def missing() -> str:
    """Why no camera can be simulated here; empty if it can."""
    remedy = "scripts/prepare_system.sh python3 tests installs it on Debian"
    if not os.access(SYSTEM_PYTHON, os.X_OK):
        return f"{SYSTEM_PYTHON} is missing; {remedy}"
    done = subprocess.run([SYSTEM_PYTHON, __file__, "check"], capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else "no reason"
    return "" if done.returncode == 0 else f"needs GStreamer's RTSP server ({reason}); {remedy}"


class SimulatedCamera:
    """A camera on the loopback interface.

    Args:
        video: what it sees; without one, a ball.
        rate: frames a second.
        certificate: file with a key and a certificate (PEM); with it, the camera speaks `rtsps`.

    Attributes:
        port: where it listens, the same after each start.
        address: what it sends without end. `{address}/once` ends after `ONCE_SECONDS`.
    """

    def __init__(self, video: Path | None = None, rate: int = 5, certificate: Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="simulated-camera-"))
        source = f"filesrc location={video} ! decodebin" if video else "videotestsrc pattern=ball num-buffers=600"
        subprocess.run(
            [SYSTEM_PYTHON, __file__, "encode", source, str(rate), str(self._folder)], check=True, timeout=START_SECONDS
        )
        self._rate, self._certificate = rate, certificate
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.start()
        self.address = f"rtsp{'s' if certificate else ''}://127.0.0.1:{self.port}/cam"

    def start(self) -> None:
        """Switch it on, or on again; nothing if it is on."""
        if self._process is not None:
            return
        values = (self.port, self._folder, self._rate, self._certificate or "")
        command = [SYSTEM_PYTHON, __file__, "serve", *map(str, values)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        assert line, _FALSE_START
        self.port = int(line)

    def kill(self) -> None:
        """Pull its plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """It stays connected, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Remove it."""
        self.kill()
        shutil.rmtree(self._folder)

    def __enter__(self) -> SimulatedCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Mode = Literal["pass", "freeze", "damage"]


class Line:
    """A network line to a port of this machine: what RTSP over TCP goes through, one connection for each client.

    Attributes:
        port: where it begins.
        mode: what happens to what goes through: it passes, it is held back, or some bytes of what the camera sends
            are flipped.
        carried: bytes that the camera sent so far.
    """

    def __init__(self, camera_port: int) -> None:
        self.mode: Mode = "pass"
        self.carried = 0
        self._camera_port = camera_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def set(self, mode: Mode) -> None:
        """Change what happens to what goes through."""
        self.mode = mode

    def cut(self) -> None:
        """End all connections; new ones are possible."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # `close` would not wake a thread that reads
        self._ends.clear()

    def close(self) -> None:
        """Remove the line."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.mode = "pass"
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                camera = socket.create_connection(("127.0.0.1", self._camera_port))
            except OSError:
                client.close()
                continue
            self._ends += [client, camera]
            for source, target, is_video in ((client, camera, False), (camera, client, True)):
                self._threads.append(threading.Thread(target=self._carry, args=(source, target, is_video), daemon=True))
                self._threads[-1].start()

    def _carry(self, source: socket.socket, target: socket.socket, is_video: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while self.mode == "freeze":
                    time.sleep(0.02)
                self.carried += len(data) if is_video else 0
                if is_video and self.mode == "damage":
                    data = bytes(byte ^ 0x55 if index % 97 == 50 else byte for index, byte in enumerate(data))
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def stalling_port() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port that answers the first request of each connection, and then says nothing; and its connections."""
    accepted = list[socket.socket]()
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener, contextlib.ExitStack() as connections:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = connections.enter_context(listener.accept()[0])
                    connection.recv(65536)
                    connection.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n")
                    accepted.append(connection)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listener.getsockname()[1], accepted
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _gstreamer() -> tuple[Any, Any, Any, Any]:
    import gi

    for name in ("Gst", "GstRtspServer"):
        gi.require_version(name, "1.0")
    from gi.repository import Gio, GLib, Gst, GstRtspServer

    Gst.init(None)
    for element in ("x264enc", "h264parse", "multifilesink", "appsrc", "decodebin", "rtph264pay"):
        if Gst.ElementFactory.find(element) is None:
            raise ImportError(f"GStreamer has no {element}")
    return Gst, GstRtspServer, GLib, Gio


def _encode(source: str, rate: str, clip: str) -> None:
    gst = _gstreamer()[0]
    pipeline = gst.parse_launch(
        f"{source} ! videorate ! videoscale ! videoconvert ! "
        f"video/x-raw,framerate={rate}/1,width={WIDTH},height={HEIGHT} ! identity eos-after={CLIP_FRAMES + 1} ! "
        "x264enc tune=zerolatency speed-preset=ultrafast bitrate=256 key-int-max=10 ! "
        f"h264parse config-interval=1 ! {_CLIP} ! multifilesink location={clip}/%05d.h264"
    )
    pipeline.set_state(gst.State.PLAYING)
    message = pipeline.get_bus().timed_pop_filtered(gst.CLOCK_TIME_NONE, gst.MessageType.EOS | gst.MessageType.ERROR)
    pipeline.set_state(gst.State.NULL)
    if message.type == gst.MessageType.ERROR:
        sys.exit(str(message.parse_error()))


def _let_anyone_in(server: Any, factories: list[Any], certificate: str, rtsp: Any, gio: Any) -> None:
    """Speak TLS; GStreamer ties that to accounts, so everybody has the one of `anyone`."""
    auth, anyone = rtsp.RTSPAuth(), rtsp.RTSPToken()
    anyone.set_string("media.factory.role", "anyone")
    auth.set_tls_certificate(gio.TlsCertificate.new_from_file(certificate))
    auth.set_default_token(anyone)
    server.set_auth(auth)
    for factory in factories:
        permissions = rtsp.RTSPPermissions()
        for permission in ("access", "construct"):
            permissions.add_permission_for_role("anyone", f"media.factory.{permission}", True)
        factory.set_permissions(permissions)


def _serve(port: str, clip: str, rate: str, certificate: str) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it does not outlive the tests
    gst, rtsp, glib, gio = _gstreamer()
    frames = [gst.Buffer.new_wrapped(path.read_bytes()) for path in sorted(Path(clip).iterdir())[:CLIP_FRAMES]]
    server = rtsp.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)

    def play(_: object, media: Any, is_endless: bool) -> None:
        source = media.get_element().get_by_name("frames")
        sent = itertools.count()

        def push() -> bool:
            number = next(sent)
            if not is_endless and number >= ONCE_SECONDS * int(rate):
                source.emit("end-of-stream")
                return False
            return bool(source.emit("push-buffer", frames[number % len(frames)].copy()) == gst.FlowReturn.OK)

        glib.timeout_add(1000 // int(rate), push)

    factories = []
    for path, is_endless in (("/cam", True), ("/cam/once", False)):
        factory = rtsp.RTSPMediaFactory()
        factory.set_launch(
            f"( appsrc name=frames is-live=true do-timestamp=true format=time caps={_CLIP},framerate={rate}/1 ! "
            "h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        factory.set_shared(True)
        factory.connect("media-configure", play, is_endless)
        server.get_mount_points().add_factory(path, factory)
        factories.append(factory)
    if certificate:
        _let_anyone_in(server, factories, certificate, rtsp, gio)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    glib.MainLoop().run()


if __name__ == "__main__":
    task, *values = sys.argv[1:]
    {"check": lambda: _gstreamer(), "encode": _encode, "serve": _serve}[task](*values)
