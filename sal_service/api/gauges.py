"""What is read of the service whenever Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator

from sal_service.api.metrics import Reading
from sal_service.api.service import Service


def readings(service: Service) -> Iterator[Reading]:
    """The state of galleries, cameras, watches and the audit log."""
    yield Reading("sal_ready", float(not service.problems()), "Whether the service can be used, 1 or 0.")
    yield Reading("sal_event_clients", service.hub.num_clients(), "Clients that listen to events.")
    yield Reading("sal_audit_lines", service.audit.sequence, "Lines of the audit log.", kind="counter")
    yield Reading("sal_audit_head", 1, "The hash that the audit log ends with.", {"hash": service.audit.head})
    for name, served in service.galleries.items():
        gallery, intake, search = {"gallery": name}, served.ingest.intake, served.generation.search
        yield Reading("sal_gallery_images", len(served.gallery), "Images of the gallery.", gallery)
        yield Reading("sal_gallery_generation", served.generation.number, "Swaps of the bundle, and one.", gallery)
        yield Reading("sal_intake_unsettled", intake.counts.unsettled, "Images that are not written yet.", gallery)
        yield Reading("sal_intake_waiting", intake.num_waiting, "Images that wait to be tried again.", gallery)
        for outcome in ("kept", "held_back", "refused", "given_up"):
            labels = {**gallery, "outcome": outcome}
            count = getattr(intake.counts, outcome)
            yield Reading("sal_intake_images", count, "Images by what became of them.", labels, "counter")
        yield Reading("sal_encoded_images", intake.encoded[0], "Images that were encoded.", gallery, "counter")
        yield Reading("sal_encode_seconds", intake.encoded[1], "Seconds of encoding.", gallery, "counter")
        what = "Descriptions by whether they were remembered."
        for known, count in (("yes", search.hits), ("no", search.misses)):
            yield Reading("sal_descriptions", count, what, {**gallery, "remembered": known}, "counter")
    yield from _cameras(service)
    counts = service.store.counts()
    for state in ("waiting", "delivered", "dead", "withdrawn"):
        what = "Messages of watches, by what became of them."
        yield Reading("sal_watch_messages", getattr(counts, state), what, {"state": state})


def _cameras(service: Service) -> Iterator[Reading]:
    for served in service.cameras.all():
        camera = {"camera": served.camera.name}
        yield Reading("sal_camera_running", float(served.running), "Whether the camera is taken in, 1 or 0.", camera)
        age = service.cameras.age(served.camera.name)
        if age is not None:
            yield Reading("sal_camera_age_seconds", age, "Age of the newest frame.", camera)
        if served.last is not None:
            for fate in ("received", "dropped", "passed_over", "detected"):
                labels = {**camera, "fate": fate}
                count = getattr(served.last, fate)
                yield Reading("sal_camera_frames", count, "Frames by what became of them.", labels, "counter")
            yield Reading("sal_camera_reconnects", served.last.reconnects, "Times it came back.", camera, "counter")
            yield Reading("sal_camera_lost_seconds", served.last.lost_seconds, "Seconds without it.", camera, "counter")
