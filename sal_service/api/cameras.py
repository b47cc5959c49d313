"""The cameras of a service: those of its file, and those that were added; started, stopped, and forgotten by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sal_runtime.errors import InputError, SalError
from sal_runtime.files import whole_file
from sal_service.galleries.served import ServedGallery
from sal_service.video.cameras import Camera
from sal_service.video.report import CameraReport


@dataclass(frozen=True)
class ServedCamera:
    """A camera of the service.

    Attributes:
        camera: what it looks at, and how.
        gallery: name of the gallery that takes its people.
        is_added: it was added while the service ran; otherwise it is of a file.
        running: it is being taken in.
        last: what became of its frames before it was stopped; None if it was never started.
    """

    camera: Camera
    gallery: str
    is_added: bool
    running: bool = False
    last: CameraReport | None = None


class NoCameraError(InputError):
    """There is no camera of that name."""


class CameraExistsError(InputError):
    """There is a camera of that name already."""


class ServiceCameras:
    """Cameras by name. Threads may share it.

    Args:
        galleries: by name.
        state: file that remembers the cameras that were added, and which ones were stopped.
        check: refuses a source that may not be opened; raises `InputError`.

    Raises:
        SalError: the file cannot be read.
    """

    def __init__(
        self, galleries: Mapping[str, ServedGallery], state: Path, check: Callable[[Camera], None] = lambda camera: None
    ) -> None:
        self._galleries, self._state, self._check = galleries, state, check
        self._turn = threading.RLock()
        self._cameras: dict[str, ServedCamera] = {}
        self._added, self._stopped = _read_state(state)

    def begin(self, given: Iterable[tuple[str, Camera]]) -> list[str]:
        """Take in the cameras of a file, and those that were added before; gives what could not be opened, in words.

        Args:
            given: name of the gallery and camera, of each.
        """
        problems = []
        every = [(gallery, camera, False) for gallery, camera in given]
        every += [(gallery, camera, True) for gallery, camera in self._added if gallery in self._galleries]
        for gallery, camera, is_added in every:
            if camera.name in self._cameras:
                raise InputError(f"two cameras are called {camera.name}; give each a name of its own")
            self._cameras[camera.name] = ServedCamera(camera, gallery, is_added)
            if camera.name not in self._stopped:
                try:
                    self.start(camera.name)
                except SalError as error:
                    problems.append(f"camera {camera.name}: {error}")
        return problems

    def names(self) -> list[str]:
        """The names of all cameras."""
        return list(self._cameras)

    def all(self) -> list[ServedCamera]:
        """All cameras, with what became of their frames so far."""
        with self._turn:
            return [self._with_report(camera) for camera in self._cameras.values()]

    def get(self, name: str) -> ServedCamera:
        """One camera, with what became of its frames so far.

        Raises:
            NoCameraError: there is none.
        """
        with self._turn:
            if name not in self._cameras:
                known = ", ".join(self._cameras) or "none"
                raise NoCameraError(f"there is no camera {name}; there is {known}", parameter="name")
            return self._with_report(self._cameras[name])

    def age(self, name: str) -> float | None:
        """Seconds since the newest frame of a camera arrived; None without one."""
        served = self.get(name)
        lanes = [lane for lane in self._galleries[served.gallery].ingest.lanes if lane.camera.name == name]
        return lanes[0].reader.state().age if lanes else None

    def add(self, gallery: str, camera: Camera) -> ServedCamera:
        """Add a camera, and start it.

        Raises:
            CameraExistsError: there is one of that name.
            InputError: its source cannot be opened.
            BackendError: a library is missing.
        """
        self._check(camera)
        with self._turn:
            if camera.name in self._cameras:
                raise CameraExistsError(f"there is a camera {camera.name} already", parameter="name")
            self._cameras[camera.name] = ServedCamera(camera, gallery, True)
            try:
                self._start(camera.name)
            except BaseException:
                del self._cameras[camera.name]
                raise
            self._write_state()
            return self.get(camera.name)

    def start(self, name: str) -> ServedCamera:
        """Take a camera in; nothing happens if it is taken in already.

        Raises:
            NoCameraError: there is none.
            InputError: its source cannot be opened.
        """
        with self._turn:
            if not self.get(name).running:
                self._start(name)
                self._write_state()
            return self.get(name)

    def stop(self, name: str) -> ServedCamera:
        """Take a camera in no more; its people so far stay.

        Raises:
            NoCameraError: there is none.
        """
        with self._turn:
            served = self.get(name)
            if served.running:
                self._galleries[served.gallery].ingest.remove(name)
                self._cameras[name] = replace(served, running=False)
                self._write_state()
            return self.get(name)

    def remove(self, name: str) -> None:
        """Stop a camera and forget it; its images stay.

        Raises:
            NoCameraError: there is none.
            InputError: it is one of the file, which would bring it back.
        """
        with self._turn:
            if not self.get(name).is_added:
                raise InputError(
                    f"camera {name} is one of the service's file of cameras; remove it there", parameter="name"
                )
            self.stop(name)
            del self._cameras[name]
            self._write_state()

    def _start(self, name: str) -> None:
        served = self._cameras[name]
        self._galleries[served.gallery].ingest.add(served.camera)
        self._cameras[name] = replace(served, running=True)

    def _with_report(self, served: ServedCamera) -> ServedCamera:
        if not served.running:
            return served
        reports = [
            lane.report() for lane in self._galleries[served.gallery].ingest.lanes if lane.camera is served.camera
        ]
        return replace(served, last=reports[-1]) if reports else served

    def _write_state(self) -> None:
        added = [
            {"gallery": served.gallery, "camera": asdict(served.camera)}
            for served in self._cameras.values()
            if served.is_added
        ]
        stopped = [name for name, served in self._cameras.items() if not served.running]
        with whole_file(self._state) as temporary:
            temporary.touch(0o600)
            temporary.write_text(json.dumps({"added": added, "stopped": stopped}, indent=1) + "\n", encoding="utf-8")


def _read_state(path: Path) -> tuple[list[tuple[str, Camera]], set[str]]:
    if not path.exists():
        return [], set()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # masks and lines are of files only
        added = [
            (str(one["gallery"]), Camera(**{**one["camera"], "masks": (), "lines": ()})) for one in content["added"]
        ]
        return added, set(content["stopped"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SalError(f"{path}: cannot be read ({error}); remove it to forget the cameras that were added") from error
