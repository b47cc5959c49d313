"""One service for twenty minutes with everything at once: whether its memory is flat, and what fails.

    python -m benchmarks.speed.service_soak yolox_nano.onnx --video vtest.avi --seconds 1200

`sal serve` takes in a simulated camera (GStreamer, RTSP over TCP on the loopback interface) through a line that is cut
again and again. Four clients search five times a second in all; others add crops, remove and purge them, and listen to
events, coming and going. The policy keeps images for two minutes; a watch posts to a server of the benchmark; every
five minutes another bundle takes over: a copy with another fingerprint, so that all images are encoded anew.

Memory is that of the service's process (resident). `by_minute` are medians.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.live_cameras import RATE, _spread
from benchmarks.speed.measurement import write_result
from sal_export.bundle_writing import write_bundle
from sal_runtime.bundle.bundle import HEADS, MANIFEST
from sal_runtime.bundle.shipped import default_bundle_path
from sal_service.governance.audit import lines_forwards, verify_log
from tests.service.api.running import Answer, RunningService
from tests.service.page.drawn_people import draw, people
from tests.service.video.simulated_camera import Line, SimulatedCamera
from tests.service.watches.receiver import Receiver, receiver

SETTLING_SECONDS = 30.0
"""Left out of the figures at the beginning: models are loaded, and memory is allocated."""
SAMPLE_SECONDS = 2.0
SEARCHERS = 4
SEARCHES_A_SECOND = 5.0
ADDED_A_SECOND = 2.0
REMOVE_EVERY, PURGE_EVERY = 5.0, 60.0
RETAINED_SECONDS = 120.0
QUESTIONS = (
    {"description": "person with a backpack"},
    {"description": "!hat", "order": "newest", "min_likelihood": 0.1, "limit": 50},
    {"description": "upper-colour=red|blue", "by_track": False},
    {"description": "upper-colour=black", "where": {"cameras": ["yard"]}},
)
GALLERY = "/v1/galleries/yard"


@dataclass
class Soak:
    """What runs, and what was seen.

    Attributes:
        service: the one under test.
        over: set at the end.
        asked: number of requests of each kind.
        errors: number of answers that were none, or not the expected one, of each kind.
        milliseconds: that requests of each kind took.
        samples: of the process and of its camera.
    """

    service: RunningService
    over: threading.Event = field(default_factory=threading.Event)
    asked: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    milliseconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    swaps: list[float] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, kind: str, ask: Callable[..., Answer], *arguments: Any) -> Any:
        """The JSON of an answer, None if there is none; what fails is counted."""
        begun = time.perf_counter()
        try:
            answer = ask(*arguments)
            problem = "" if answer.ok else f"{kind}: {answer.status} {answer.body[:200].decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            problem = f"{kind}: {type(error).__name__}"
        with self.turn:
            self.asked[kind] += 1
            self.milliseconds[kind].append(1000 * (time.perf_counter() - begun))
            if problem:
                self.errors[problem] += 1
                return None
        return answer.json() if answer.body else None

    def search(self, number: int) -> None:
        """One of the clients that search."""
        client = self.service.client("search")
        for question in itertools.cycle(QUESTIONS[number:] + QUESTIONS[:number]):
            self.ask("search", client.post, f"{GALLERY}/search", question)
            if self.over.wait(SEARCHERS / SEARCHES_A_SECOND):
                return

    def add_and_remove(self) -> None:
        """The client that adds crops, and the one that removes what it added."""
        adder, admin = self.service.client("ingest"), self.service.client("admin")
        pictures = itertools.cycle([draw(person, 0) for person in people(60, datetime.now(UTC))])
        there: deque[str] = deque(maxlen=20)
        next_removal, next_purge = time.monotonic() + REMOVE_EVERY, time.monotonic() + PURGE_EVERY
        for number in itertools.count():
            now = datetime.now(UTC)
            place = f"camera=gate&captured_at={now:%Y-%m-%dT%H:%M:%S.%fZ}&track={number // 3}"
            picture = next(pictures) + number.to_bytes(4, "big")  # behind the end of the JPEG: another picture
            added = self.ask("add", adder.post_picture, f"{GALLERY}/crops?{place}", picture)
            there += [added["image"]["uri"]] if added else []
            if time.monotonic() >= next_removal:
                next_removal += REMOVE_EVERY
                asked: dict[str, Any] = {"uris": [there.pop() for _ in range(min(3, len(there)))], "reason": "soak"}
                removed = asked["uris"] and self.ask("remove", admin.post, f"{GALLERY}/remove", asked)
                self.events["removed"] += len(removed["uris"]) if removed else 0
            if time.monotonic() >= next_purge:
                next_purge += PURGE_EVERY
                before = (now - timedelta(seconds=30)).isoformat()
                asked = {"before": before, "where": {"cameras": ["gate"]}, "reason": "soak"}
                purged = self.ask("purge", admin.post, f"{GALLERY}/purge", asked)
                self.events["purged"] += len(purged["uris"]) if purged else 0
            if self.over.wait(1 / ADDED_A_SECOND):
                return

    def listen(self) -> None:
        """A client of events that comes and goes, and now and then asks for what it missed."""
        client, chance, last = self.service.client("admin"), random.Random(0), ""
        while not self.over.is_set():
            self.events["connections"] += 1
            headers = {"Last-Event-ID": last} if last and chance.random() < 0.5 else {}
            leave_at = time.monotonic() + chance.uniform(1, 20)
            try:
                connection = client.connect("GET", "/v1/events", headers=headers)
                stream = connection.getresponse()
                while time.monotonic() < leave_at and not self.over.is_set() and (line := stream.readline()):
                    kind, _, value = line.decode().strip().partition(": ")
                    if kind == "event":
                        self.events[value] += 1
                    elif kind == "id":
                        last = value
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.errors[f"events: {type(error).__name__}"] += 1

    def swap(self, every: float) -> None:
        """Let bundles take over in turn."""
        client = self.service.client("admin")
        for name in itertools.cycle(("again", "edge")):
            if self.over.wait(every):
                return
            begun = time.monotonic()
            self.ask("swap", client.post, f"{GALLERY}/swap", {"bundle": name, "reason": "soak"})
            while self._bundle() != name and not self.over.wait(0.5):
                pass
            self.swaps.append(round(time.monotonic() - begun, 1))

    def _bundle(self) -> str | None:
        found = self.ask("galleries", self.service.client("search").get, "/v1/galleries")
        return found and str(found["galleries"][0]["bundle"]["name"])

    def sample(self) -> None:
        """Look at the process, and at its camera."""
        fields = Path(f"/proc/{self.service.process.pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in fields)
        self.samples["memory_mb"].append(int(status["VmRSS"].split()[0]) / 1000)
        self.samples["threads"].append(int(status["Threads"]))
        found = self.ask("cameras", self.service.client("search").get, "/v1/cameras")
        if found and found["cameras"][0]["age_seconds"] is not None:
            self.samples["age_seconds"].append(found["cameras"][0]["age_seconds"])


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("detector", type=Path)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--cut", type=float, default=20, help="seconds between two cuts of the camera's line")
    parser.add_argument("--swap", type=float, default=300, help="seconds between two swaps of the bundle")
    parser.add_argument("--name", default="service_soak")
    given = parser.parse_args()
    with ExitStack() as stack:
        simulated = stack.enter_context(SimulatedCamera(given.video, rate=RATE))
        line = stack.enter_context(Line(simulated.port))
        hook = stack.enter_context(receiver())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sal-soak-")))
        service = RunningService(folder, [folder / "yard.sal"], _options(folder, simulated, line, hook, given))
        stack.callback(service.kill)
        soak = Soak(service.wait_until_ready())
        soak.ask("watch", service.client("admin").post, "/v1/watches", _watch(hook))
        _run(soak, line, given)
        write_result(given.name, _result(soak, hook, given))


def _options(
    folder: Path, simulated: SimulatedCamera, line: Line, hook: Receiver, given: argparse.Namespace
) -> list[str | Path]:
    """Write what the service reads, and say where it is."""
    bundles = folder / "bundles"
    shutil.copytree(default_bundle_path(), bundles / "edge")
    _copy_with_another_fingerprint(bundles / "edge", bundles / "again")
    address = simulated.address.replace(str(simulated.port), str(line.port))
    camera = f'[[cameras]]\nname = "yard"\nsource = "{address}"\nlibrary = "pyav"\nmin_height = 20\n'
    (folder / "cameras.toml").write_text(camera)
    policy = f'[retention]\ndays = {RETAINED_SECONDS / 86400}\n[watches]\nwebhooks = ["{hook.host}"]\n'
    (folder / "policy.toml").write_text(policy)
    return [
        *("--bundle", bundles / "edge", "--bundles", bundles, "--precision", "int8"),
        *("--cameras", folder / "cameras.toml", "--detector", given.detector.resolve()),
        *("--policy", folder / "policy.toml"),
    ]


def _copy_with_another_fingerprint(bundle: Path, copy: Path) -> None:
    """The same bundle with its heads packed in another way, which makes it another one."""
    files = {path.name: path.read_bytes() for path in bundle.iterdir() if not path.name.startswith(MANIFEST)}
    with (
        np.load(bundle / HEADS, allow_pickle=False) as heads,
        (bundle / HEADS).with_name("repacked").open("wb") as repacked,
    ):
        np.savez_compressed(repacked, **heads)
    files[HEADS] = (bundle / "repacked").read_bytes()
    (bundle / "repacked").unlink()
    write_bundle(copy, json.loads((bundle / MANIFEST).read_text()) | {"name": "again"}, files)


def _watch(hook: Receiver) -> dict[str, Any]:
    return {
        "name": "backpacks",
        "gallery": "yard",
        "description": "backpack",
        "min_likelihood": 0.2,
        "once_per_track": False,
        "reason": "soak",
        "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        "deliver": [{"kind": "webhook", "url": hook.url}],
    }


def _run(soak: Soak, line: Line, given: argparse.Namespace) -> None:
    """Let it run, and look at it."""
    workers = [threading.Thread(target=soak.search, args=(number,)) for number in range(SEARCHERS)]
    workers += [threading.Thread(target=work) for work in (soak.add_and_remove, soak.listen)]
    workers.append(threading.Thread(target=soak.swap, args=(given.swap,)))
    for worker in workers:
        worker.start()
    try:
        time.sleep(SETTLING_SECONDS)
        began = time.monotonic()
        next_cut = began + given.cut
        while (now := time.monotonic()) < began + given.seconds:
            if now >= next_cut:
                line.cut()
                next_cut += given.cut
            soak.sample()
            time.sleep(SAMPLE_SECONDS)
    finally:
        soak.over.set()
        for worker in workers:
            worker.join()


def _result(soak: Soak, hook: Receiver, given: argparse.Namespace) -> dict[str, Any]:
    client = soak.service.client("admin")
    camera = client.get("/v1/cameras").json()["cameras"][0]
    gallery = client.get("/v1/galleries").json()["galleries"][0]
    watch = client.get("/v1/watches").json()["watches"][0]
    problems = client.get("/v1/health").json()["problems"]
    oldest = datetime.fromisoformat(gallery["captured"][0]) if gallery["captured"] else datetime.now(UTC)
    age_of_oldest = (datetime.now(UTC) - oldest).total_seconds()
    status = soak.service.stop()
    log = [json.loads(line) for line in soak.service.printed().splitlines() if line.startswith("{")]
    log_path = soak.service.state / "audit.jsonl"
    audit = verify_log(log_path)
    told = [json.loads(body) for _, _, body in hook.received]
    kept = ("received", "dropped", "detected", "kept", "given_up", "reconnects", "lost_seconds")
    return {
        "seconds": given.seconds,
        "cut_every_seconds": given.cut,
        "swap_every_seconds": given.swap,
        "retained_seconds": RETAINED_SECONDS,
        "memory_mb": _memory(soak.samples["memory_mb"]),
        "threads": {"first": soak.samples["threads"][0], "last": soak.samples["threads"][-1]},
        "requests": dict(sorted(soak.asked.items())),
        "errors": dict(soak.errors),
        "milliseconds": {kind: _spread(soak.milliseconds[kind]) for kind in sorted(soak.milliseconds)},
        "age_seconds": _spread(soak.samples["age_seconds"]),
        "camera": {name: camera[name] for name in kept},
        "images_removed": {
            **{name: soak.events.pop(name) for name in ("removed", "purged")},
            "retention": sum(line.what["images"] for line in lines_forwards(log_path) if line.action == "retention"),
        },
        "images_left": gallery["images"],
        "age_of_the_oldest_image_seconds": round(age_of_oldest, 1),
        "swap_seconds": soak.swaps,
        "generation": gallery["bundle"]["generation"],
        "events": dict(sorted(soak.events.items())),
        "messages": {
            **dict(Counter(message["type"] for message in told)),
            "distinct": len({message["id"] for message in told}),
            **{name: watch[name] for name in ("fired", "waiting", "delivered", "dead")},
        },
        "audit": {"lines": audit.lines, "ok": audit.ok},
        "log_levels": dict(Counter(entry["level"] for entry in log)),
        "log_errors": dict(Counter(entry["event"] for entry in log if entry["level"] == "error")),
        "problems_at_the_end": problems,
        "exit_status": status,
    }


def _memory(samples: list[float]) -> dict[str, Any]:
    quarter, minute = max(1, len(samples) // 4), int(60 / SAMPLE_SECONDS)
    return {
        "first_quarter": round(statistics.median(samples[:quarter]), 1),
        "last_quarter": round(statistics.median(samples[-quarter:]), 1),
        "max": round(max(samples), 1),
        "by_minute": [
            round(statistics.median(samples[start : start + minute]), 1) for start in range(0, len(samples), minute)
        ],
    }


if __name__ == "__main__":
    main()
