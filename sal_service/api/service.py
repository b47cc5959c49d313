"""All that a service holds: galleries, cameras, watches, the policy and the audit log; begun and ended in order."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sal_runtime.arrays import Precision
from sal_runtime.errors import InputError, SalError
from sal_runtime.files import write_synced
from sal_runtime.version import __version__
from sal_service.api import models, present
from sal_service.api.cameras import ServiceCameras
from sal_service.api.events import EventHub
from sal_service.api.problems import RefusedError
from sal_service.galleries.served import ServedGallery
from sal_service.governance.audit import AuditLog
from sal_service.governance.policy import Policy
from sal_service.governance.retention import due, purge_due
from sal_service.memory import give_memory_back
from sal_service.video.cameras import Camera
from sal_service.video.detector.detector import Detector
from sal_service.video.ingest import LOWEST_SCORE
from sal_service.video.intake import KeptCrop, Pictures
from sal_service.watches.board import WatchBoard
from sal_service.watches.deliver import Deliverer, DeliverySettings
from sal_service.watches.mqtt import BrokerSettings
from sal_service.watches.store import WatchStore
from sal_service.watches.watch import Message

TICK_SECONDS = 1.0
DAY = 86400.0
HOUSEKEEPING_SECONDS = 60.0
SECRET_BYTES = 32

_logger = logging.getLogger("sal.service")


@dataclass(frozen=True)
class ServiceSettings:
    """What a service is made of.

    Attributes:
        galleries: gallery files by name; a file that is missing is made.
        state: folder of what the service itself keeps: audit log, watches, cameras that were added.
        cameras: name of the gallery and camera, of each camera to begin with.
        detector: of people, for cameras that name none of their own; None where there are no such cameras.
        bundle: of galleries that are made; None takes the default.
        bundles: folder of bundles that may take over; None for none.
        policy: what is allowed.
        device: of encoders and detectors.
        precision: of image encoders; None takes that of each gallery, or fp32 for a new one.
        pictures: what is kept of each picture beside its gallery.
    """

    galleries: Mapping[str, Path]
    state: Path
    cameras: Sequence[tuple[str, Camera]] = ()
    detector: Path | None = None
    bundle: Path | None = None
    bundles: Path | None = None
    policy: Policy = field(default_factory=Policy)
    device: str = "cpu"
    precision: Precision | None = None
    pictures: Pictures = "full"


class Service:
    """A running service, without its network; a context manager. Threads may share it.

    Args:
        settings: what it is made of.

    Attributes:
        settings: as given.
        galleries: by name.
        cameras: of all galleries.
        audit: the log.
        board: evaluates watches.
        store: watches and their messages.
        deliverer: sends messages.
        hub: events for pages and programs.

    Raises:
        SalError: something of it cannot be opened; says what.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self._began = time.monotonic()
        self._detectors: dict[Path, Detector] = {}
        self._closing = threading.Event()
        self._closers: list[Callable[[], None]] = []
        self.problems_at_start: list[str] = []
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        settings, state = self.settings, self.settings.state
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.audit = AuditLog(state / "audit.jsonl")
        self._closers.append(self.audit.close)
        self.hub = EventHub()
        self.store = WatchStore(state / "watches.sqlite")
        self._closers.append(self.store.close)
        self.board = WatchBoard(
            self.store,
            self._fired,
            crop_url=present.crop_url,
            longest_seconds=settings.policy.most_watch_days * DAY,
        )
        self.galleries: dict[str, ServedGallery] = {}
        for name, path in settings.galleries.items():
            served = ServedGallery(
                name,
                path,
                bundle=settings.bundle,
                device=settings.device,
                precision=settings.precision,
                detector_for=self._detector_for,
                pictures=settings.pictures,
                on_kept=self._kept,
            )
            self._closers.append(served.close)
            self.galleries[name] = served
            self._register(served)
        settings.policy.check_names(served.generation.bundle.schema for served in self.galleries.values())
        self.deliverer = Deliverer(self.store, self._delivery(), _secret(state / "webhook.key"), self.has_image)
        self._closers.append(self.deliverer.close)
        self.cameras = ServiceCameras(self.galleries, state / "cameras.json", _check_source)
        self.problems_at_start += self.cameras.begin(settings.cameras)
        policy = {
            **asdict(settings.policy),
            "galleries": {name: str(path) for name, path in settings.galleries.items()},
        }
        self.audit.append("service", "service.start", None, policy)
        ticker = threading.Thread(target=self._tick, name="sal-service", daemon=True)
        ticker.start()
        self._closers.append(ticker.join)

    def close(self) -> None:
        """End everything in order; what was acknowledged stays."""
        self._closing.set()
        while self._closers:
            self._closers.pop()()

    def __enter__(self) -> Service:
        """The service itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def gallery(self, name: str) -> ServedGallery:
        """A gallery by its name.

        Raises:
            RefusedError: 404, there is none.
        """
        if name not in self.galleries:
            raise RefusedError(404, f"There is no gallery {name}; there is {', '.join(self.galleries)}.")
        return self.galleries[name]

    def has_image(self, gallery: str, uri: str) -> bool:
        """Whether a gallery has an image."""
        served = self.galleries.get(gallery)
        return served is not None and bool(served.gallery.find([uri]))

    def swap(self, served: ServedGallery, bundle: Path) -> None:
        """Let a bundle take over in a gallery; watches are evaluated with it from then on."""
        served.swap(bundle, lambda: self._register(served), is_claimed=True)

    def forget_images(self, gallery: str, uris: Sequence[str]) -> None:
        """Images were removed: when this returns, nothing more is told of them."""
        self.board.forget_images(gallery, uris)
        self.deliverer.wait_for(gallery, uris)

    def health(self) -> models.HealthAnswer:
        """The state of the service, and the devices that its parts really run on."""
        devices = []
        for name, served in self.galleries.items():
            choice = served.generation.encoder.choice
            precision = served.gallery.precision
            devices.append(models.DeviceAnswer(part=f"images of {name}", device=choice.device, precision=precision))
            devices.append(models.DeviceAnswer(part=f"descriptions of {name}", device="cpu", precision="fp32"))
        devices += [
            models.DeviceAnswer(part=f"detector {found.title}", device=found.device, precision=None)
            for found in self._detectors.values()
        ]
        problems = self.problems()
        return models.HealthAnswer(
            ready=not problems,
            problems=problems,
            version=__version__,
            devices=devices,
            uptime_seconds=time.monotonic() - self._began,
        )

    def problems(self) -> list[str]:
        """Why the service is not ready, a line each."""
        found = list(self.problems_at_start)
        for name, served in self.galleries.items():
            if not served.is_ingesting:
                found.append(f"gallery {name}: takes nothing in any more; start the service again")
            waiting = served.ingest.intake.num_waiting
            if waiting:
                reason = served.ingest.intake.counts.last_problem
                found.append(f"gallery {name}: {waiting} images wait to be written ({reason})")
        found += [f"watch {watch}: {problem}" for watch, problem in self.board.problems.items()]
        if self.deliverer.problem:
            found.append(f"messages: {self.deliverer.problem}")
        return found

    def _register(self, served: ServedGallery) -> None:
        now = served.generation
        self.board.register_gallery(served.name, now.bundle, now.gallery)
        self.board.catch_up(served.name)

    def _kept(self, name: str, kept: KeptCrop) -> None:
        self.board.see(name, kept)
        image = present.image(name, kept.item).model_dump(mode="json")
        self.hub.publish("kept", {"gallery": name, "image": image}, roles=("search",))

    def _fired(self, message: Message) -> None:
        what = {"watch": message.watch, "message": message.id, "type": message.type, "gallery": message.gallery}
        self.audit.append("watches", "watch.fire", None, {**what, "uri": message.uri})
        self.hub.publish("watch", present.message(message).model_dump(mode="json"), roles=("admin",))

    def _detector_for(self, camera: Camera) -> Detector:
        path = self.settings.detector if camera.detector is None else Path(camera.detector)
        if path is None:
            raise InputError(f"camera {camera.name}: there is no detector of people for it", parameter="detector")
        if path not in self._detectors:
            device = self.settings.device
            self._detectors[path] = Detector(path, device=device, min_score=LOWEST_SCORE, min_height=0, threads=1)
        return self._detectors[path]

    def _delivery(self) -> DeliverySettings:
        policy = self.settings.policy
        broker = None
        if policy.mqtt is not None:
            broker = BrokerSettings(policy.mqtt, os.environ.get("SAL_MQTT_USER"), os.environ.get("SAL_MQTT_PASSWORD"))
        return DeliverySettings(webhooks=policy.webhooks, broker=broker)

    def _tick(self) -> None:
        """Every second: watches, and the cameras' state for pages. Every minute: retention, and what is to be freed."""
        kept_house = -HOUSEKEEPING_SECONDS
        told: dict[str, tuple[str, bool]] = {}
        while not self._closing.wait(TICK_SECONDS):
            try:
                self.board.tick(time.time())
                for camera in self.cameras.all():
                    name = camera.camera.name
                    answer = present.camera(camera, self.cameras.age(name))
                    if told.get(name) != (answer.condition, answer.running):
                        told[name] = (answer.condition, answer.running)
                        self.hub.publish("camera", answer.model_dump(mode="json"), roles=("search",))
                if time.monotonic() - kept_house >= HOUSEKEEPING_SECONDS:
                    kept_house = time.monotonic()
                    self._keep_house()
            except SalError:
                _logger.exception("housekeeping failed; it is tried again")

    def _keep_house(self) -> None:
        for name, served in self.galleries.items():
            served.tidy()
            self._purge_overdue(name, served)
        give_memory_back()

    def _purge_overdue(self, name: str, served: ServedGallery) -> None:
        gallery, policy, now = served.gallery, self.settings.policy, time.time()
        overdue = [item.uri for items in due(gallery, policy, now).values() for item in items]
        if overdue:
            served.removing(lambda: purge_due(gallery, policy, now, self.audit), overdue)
            self.forget_images(name, overdue)


def _check_source(camera: Camera) -> None:
    """Refuse what a stranger to this machine must not open: cameras that are added over the network are live ones."""
    if not camera.source.startswith(("rtsp://", "rtsps://")):
        raise InputError(
            "a camera that is added has an address rtsp:// or rtsps://; files and devices of this machine are named "
            "when the service starts",
            parameter="source",
        )


def _secret(path: Path) -> bytes:
    """The key that messages are signed with; it is made where it is missing."""
    if not path.exists():
        write_synced(path, secrets.token_hex(SECRET_BYTES).encode(), 0o600)
    if path.stat().st_mode & 0o077:
        raise InputError(f"{path}: others may read it; chmod 600 {path}")
    return path.read_bytes().strip()
