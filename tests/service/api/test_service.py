"""The whole service over HTTP: each route, by the role that may use it, with what it leaves in the audit log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.tracks import ask_by_track
from sal_service.api.app import create_app
from sal_service.api.gate.access import Access
from sal_service.api.service import Service, ServiceSettings
from sal_service.governance.audit import read_lines, verify_log
from sal_service.governance.policy import Policy
from sal_service.governance.tokens import Tokens, add_token
from sal_service.video.cameras import Camera
from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.service.video.drawn_scene import RED, frames, walk, write_folder

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=365 * 20)
ROLES = ("search", "ingest", "admin")


def picture(seed: int) -> bytes:
    """A JPEG of one colour."""
    pixels = np.full((40, 20, 3), np.random.default_rng(seed).integers(0, 256, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


class Caller:
    """Asks a service as one of its roles."""

    def __init__(self, service: Service, tokens: dict[str, str], tokens_file: Path) -> None:
        self.service, self.tokens = service, tokens
        access = Access(Tokens.read(tokens_file), secure_cookies=False)
        self.client = TestClient(create_app(service, access), base_url="http://127.0.0.1")

    def __call__(self, role: str, method: str, path: str, **given: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role in self.tokens else {}
        return self.client.request(method, path, headers={**headers, **given.pop("headers", {})}, **given)

    def add(self, seed: int, camera: str = "door", track: str | None = None) -> str:
        """Add a picture; gives its uri."""
        moment = (NOON + timedelta(seconds=seed)).isoformat()
        given = {"camera": camera, "captured_at": moment, "track": track or f"t{seed % 5}", "meta": "zone=north"}
        answer = self("ingest", "POST", "/v1/galleries/yard/crops", params=given, content=picture(seed))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["image"]["uri"])

    def search(self, **asked: Any) -> Any:
        return self("search", "POST", "/v1/galleries/yard/search", json=asked)

    def audited(self) -> list[Any]:
        return list(reversed(read_lines(self.service.audit.path, None, 1000)))


Start = Callable[..., Caller]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a service in the same folder; the one before is closed."""
    tokens_file = tmp_path / "tokens.toml"
    tokens = {role: add_token(tokens_file, role, [role], time.time() + 1000) for role in ROLES}  # type: ignore[list-item]
    bundle = make_calibrated_bundle(tmp_path / "tiny.bundle")
    running: list[Service] = []

    def begin(**given: Any) -> Caller:
        while running:
            running.pop().close()
        settings = {
            "galleries": {"yard": tmp_path / "yard.sal"},
            "state": tmp_path / "state",
            "bundle": bundle,
            "bundles": tmp_path,
        }
        running.append(Service(ServiceSettings(**{**settings, **given})))
        return Caller(running[0], tokens, tokens_file)

    yield begin
    while running:
        running.pop().close()


@pytest.fixture
def yard(start: Start) -> Caller:
    """Twelve images of five tracks."""
    caller = start()
    for seed in range(12):
        caller.add(seed)
    return caller


def test_a_search_is_that_of_the_library(yard: Caller, tmp_path: Path) -> None:
    answer = yard.search(description="hat, upper=red", limit=3).json()
    with Gallery.open(tmp_path / "yard.sal") as gallery:
        search = PersonSearch(open_bundle(tmp_path / "tiny.bundle"), gallery)
        expected = ask_by_track(search, "hat, upper=red", 5)
    assert [hit["uri"] for hit in answer["hits"]] == [hit.uri for hit in expected.hits[:3]]
    first, hit = answer["hits"][0], expected.hits[0]
    assert first["likelihood"] == pytest.approx(hit.likelihood)
    assert first["evidence"] == pytest.approx(hit.evidence)
    assert [other["uri"] for other in first["others"]] == [other.uri for other in hit.others]
    assert (first["camera"], first["track"], first["metadata"]) == ("door", hit.item.track, {"zone": "north"})
    assert datetime.fromisoformat(first["captured_at"]).timestamp() == hit.item.captured_at
    assert [term["understood"] for term in answer["understood"]] == ["hat", "upper-colour red"]
    assert (answer["next_offset"], answer["num_images"]) == (3, 12)
    rest = yard.search(description="hat, upper=red", limit=3, offset=3).json()
    assert [hit["uri"] for hit in rest["hits"]] == [hit.uri for hit in expected.hits[3:]]


def test_terms_say_the_same_as_a_description(yard: Caller) -> None:
    terms = [{"values": ["hat"], "negated": True}, {"values": ["upper-colour=red", "upper-colour=blue"]}]
    by_terms = yard.search(terms=terms).json()
    assert by_terms["hits"] == yard.search(description="!hat,upper=red|blue").json()["hits"]
    assert yard.search(terms=terms, description="hat").status_code == 400


def test_conditions_and_marks_and_likeness(yard: Caller) -> None:
    yard.add(100, camera="gate")
    only = yard.search(description="hat", where={"cameras": ["gate"]}, by_track=False).json()
    assert [hit["camera"] for hit in only["hits"]] == ["gate"]
    window = {
        "captured_from": (NOON + timedelta(seconds=3)).isoformat(),
        "captured_until": NOON.replace(second=5).isoformat(),
    }
    assert len(yard.search(description="hat", where=window, by_track=False).json()["hits"]) == 2
    every = [hit["uri"] for hit in yard.search(description="hat", by_track=False).json()["hits"]]
    marked = yard.search(description="hat", by_track=False, right=every[-2:], wrong=every[:1]).json()["hits"]
    assert {hit["uri"] for hit in marked} == set(every)
    like = yard.search(like=[every[0]], by_track=False).json()["hits"]
    assert {hit["uri"] for hit in like} == set(every[1:])
    assert all(hit["likelihood"] is None for hit in like)


def test_a_picture_from_elsewhere(yard: Caller) -> None:
    answer = yard("search", "POST", "/v1/galleries/yard/search/image?by_track=false&limit=1", content=picture(7))
    (hit,) = answer.json()["hits"]
    assert hit["track"] == "t2"
    assert hit["score"] == pytest.approx(1, abs=1e-3)
    assert yard("search", "POST", "/v1/galleries/yard/search/image", content=b"GIF89a").status_code == 415
    assert yard("search", "POST", "/v1/galleries/yard/search/image").status_code == 400


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"description": "moustache"}, 400, "moustache"),
        ({}, 400, "either a description"),
        ({"description": "hat", "limit": 0}, 400, "greater than or equal to 1"),
        ({"description": "hat", "colour": "red"}, 400, "colour"),
        ({"description": "hat", "where": {"cameras": ["dor"]}}, 400, "door"),
        ({"description": "hat", "order": "newest"}, 400, "needs a min_likelihood"),
        ({"description": "male"}, 403, "state one"),
    ],
)
def test_what_cannot_be_asked(yard: Caller, asked: dict[str, Any], status: int, said: str) -> None:
    answer = yard.search(**asked)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]


def test_an_unknown_gallery_names_those_there_are(yard: Caller) -> None:
    answer = yard("search", "GET", "/v1/galleries/garden/words")
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no gallery garden; there is yard.")


def test_the_words_and_what_the_policy_says_of_them(yard: Caller) -> None:
    groups = {group["name"]: group for group in yard("search", "GET", "/v1/galleries/yard/words").json()["groups"]}
    assert (groups["gender"]["sensitive"], groups["gender"]["allowed"], groups["hat"]["allowed"]) == (
        True,
        "with reason",
        "yes",
    )
    for group in groups.values():
        for word in group["words"]:
            asked = {"terms": [{"values": [word["value"]]}], "reason": "test"}
            assert yard("search", "POST", "/v1/galleries/yard/search", json=asked).status_code == 200, word


def test_a_word_is_allowed_where_it_may_be_asked_for(start: Start) -> None:
    caller = start(policy=Policy("allowed", ("upper-colour=red", "hat")))
    caller.add(0)
    groups = caller("search", "GET", f"{G}/yard/words").json()["groups"]
    words = {word["value"]: word["allowed"] for group in groups for word in group["words"]}
    assert [value for value in words if not words[value]] == ["no-hat", "hat", "upper-colour=red"]
    for value, is_allowed in words.items():
        answer = caller.search(terms=[{"values": [value]}])
        assert answer.status_code == (200 if is_allowed else 403), value


def test_pictures_are_seen_by_those_who_may_and_that_is_written_down(yard: Caller) -> None:
    (hit, *_) = yard.search(description="hat").json()["hits"]
    answer = yard("search", "GET", hit["crop_url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (40, 20, 3)
    line = yard.audited()[-1]
    assert (line.who, line.action, line.what) == ("search", "view", {"gallery": "yard", "uri": hit["uri"]})
    for path in ("../../tokens.toml", "%2e%2e/%2e%2e/tokens.toml", "door/nobody.jpg", "/etc/passwd"):
        assert yard("search", "GET", f"/v1/galleries/yard/crops/{path}").status_code == 404


def test_a_batch_says_of_each_file_what_became_of_it(start: Start) -> None:
    caller = start()
    items = [
        {"file": "a.jpg", "camera": "door", "captured_at": NOON.isoformat(), "track": "1"},
        {"file": "b.jpg", "camera": "door", "captured_at": NOON.isoformat(), "track": "2"},
        {"file": "c.jpg", "camera": "door", "captured_at": NOON.isoformat()},
    ]
    files = [("files", ("a.jpg", picture(1), "image/jpeg")), ("files", ("b.jpg", b"no picture", "image/jpeg"))]
    answer = caller(
        "ingest", "POST", "/v1/galleries/yard/crops/batch", data={"items": json.dumps(items)}, files=files
    ).json()["files"]
    assert [(one["file"], one["image"] is not None) for one in answer] == [
        ("a.jpg", True),
        ("b.jpg", False),
        ("c.jpg", False),
    ]
    assert "no such file" in answer[2]["problem"]
    assert caller.service.gallery("yard").gallery.recorded().tracks == 1
    for wrong in ("no json", "[1]", json.dumps([{"file": "a.jpg"}])):
        refused = caller("ingest", "POST", "/v1/galleries/yard/crops/batch", data={"items": wrong}, files=files)
        assert refused.status_code == 400


def test_removal_is_for_good(yard: Caller) -> None:
    uri = yard.search(description="hat", by_track=False).json()["hits"][0]["uri"]
    gone = yard(
        "admin", "POST", "/v1/galleries/yard/remove", json={"uris": [uri, "crop:none.jpg"], "reason": "asked to"}
    )
    assert gone.json() == {"uris": [uri], "dry_run": False}
    assert uri not in [hit["uri"] for hit in yard.search(description="hat", by_track=False).json()["hits"]]
    assert yard("search", "GET", f"/v1/galleries/yard/crops/{quote(uri.removeprefix('crop:'))}").status_code == 404
    line = next(line for line in yard.audited() if line.action == "remove")
    assert (line.who, line.why, line.what["images"], line.what["uris"]) == ("admin", "asked to", 1, [uri])
    again = yard(
        "ingest",
        "POST",
        "/v1/galleries/yard/crops",
        params={"camera": "door", "captured_at": NOON.isoformat()},
        content=picture(next(seed for seed in range(12) if f"-t{seed % 5}" in uri and f"1200{seed:02}" in uri)),
    )
    assert (again.status_code, "removed" in again.json()["detail"]) == (409, True)


def test_a_purge_says_what_it_would_remove_first(yard: Caller) -> None:
    asked = {"before": (NOON + timedelta(seconds=4)).isoformat(), "reason": "too old"}
    dry = yard("admin", "POST", "/v1/galleries/yard/purge", json={**asked, "dry_run": True}).json()
    assert (len(dry["uris"]), dry["dry_run"]) == (4, True)
    assert yard("admin", "POST", "/v1/galleries/yard/purge", json=asked).json() == {
        "uris": dry["uris"],
        "dry_run": False,
    }
    assert len(yard.search(description="hat", by_track=False).json()["hits"]) == 8
    assert yard("admin", "POST", "/v1/galleries/yard/purge", json={"reason": "all"}).status_code == 400


def test_another_bundle_takes_over(yard: Caller, tmp_path: Path) -> None:
    make_calibrated_bundle(tmp_path / "other.bundle", "other", seed=4)
    assert yard("admin", "POST", "/v1/galleries/yard/swap", json={"bundle": "none", "reason": "x"}).status_code == 404
    for name in ("..", "../tiny.bundle", "a/b"):
        assert yard("admin", "POST", "/v1/galleries/yard/swap", json={"bundle": name, "reason": "x"}).status_code in (
            400,
            404,
        )
    asked = {"bundle": "other.bundle", "reason": "better"}
    yard.service.gallery("yard").claim_swap(tmp_path / "tiny.bundle")
    assert yard("admin", "POST", "/v1/galleries/yard/swap", json=asked).status_code == 409
    with pytest.raises(SalError):
        yard.service.gallery("yard").swap(tmp_path / "yard.sal", is_claimed=True)  # ends it without a bundle
    assert yard("admin", "POST", "/v1/galleries/yard/swap", json=asked).status_code == 202
    wait_until(lambda: yard.search(description="hat").json()["bundle"]["generation"] == 2)
    assert yard.search(description="hat").json()["bundle"]["name"] == "other"
    wait_until(
        lambda: [line.what.get("done") for line in yard.audited() if line.action == "swap"] == [None, None, True]
    )


def test_cameras_are_added_stopped_started_and_forgotten(start: Start, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "frames", frames([(walk((20, 200), (60, 0), (0, 4.5)), RED)], 5))
    caller = start()
    address = {"name": "gate", "source": "rtsp://user:secret@127.0.0.1:9/stream", "gallery": "yard"}
    for source in (str(folder), "file:///etc/passwd", "http://127.0.0.1/x", "concat:a|b", "/dev/video0"):
        refused = caller("admin", "POST", "/v1/cameras", json={**address, "source": source})
        assert (refused.status_code, "rtsp://" in refused.json()["detail"]) == (400, True)
    assert caller("admin", "POST", "/v1/cameras", json={**address, "gallery": "none"}).status_code == 404
    # no detector was named when the service began
    assert "no detector" in caller("admin", "POST", "/v1/cameras", json=address).json()["detail"]
    assert caller("search", "GET", "/v1/cameras").json() == {"cameras": []}
    for verb in ("start", "stop"):
        assert caller("admin", "POST", f"/v1/cameras/gate/{verb}").status_code == 404
    assert caller("admin", "DELETE", "/v1/cameras/gate").status_code == 404


def test_cameras_of_a_running_service(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.service.video.drawn_scene import DrawnDetector

    folder = write_folder(tmp_path / "frames", frames([(walk((20, 200), (60, 0), (0, 4.5)), RED)], 5))
    monkeypatch.setattr(Service, "_detector_for", lambda self, camera: DrawnDetector())
    given = [("yard", Camera("yard", str(folder)))]
    caller = start(cameras=given)
    wait_until(lambda: caller("search", "GET", "/v1/cameras").json()["cameras"][0]["kept"] == 3)
    address = {"name": "gate", "source": "rtsp://user:secret@127.0.0.1:9/stream", "gallery": "yard"}
    added = caller("admin", "POST", "/v1/cameras", json=address)
    assert (added.status_code, "secret" in added.text, added.json()["running"]) == (201, False, True)
    assert caller("admin", "POST", "/v1/cameras", json=address).status_code == 409
    assert caller("admin", "POST", "/v1/cameras/gate/stop").json()["condition"] == "stopped"
    caller = start(cameras=given)  # what was added is remembered, and that it was stopped
    cameras = {camera["name"]: camera for camera in caller("search", "GET", "/v1/cameras").json()["cameras"]}
    assert (cameras["gate"]["running"], cameras["yard"]["running"]) == (False, True)
    assert "secret" not in json.dumps(cameras)
    assert caller("admin", "POST", "/v1/cameras/gate/start").json()["running"]
    assert caller("admin", "DELETE", "/v1/cameras/gate").status_code == 204
    assert "remove it there" in caller("admin", "DELETE", "/v1/cameras/yard").json()["detail"]
    assert len(caller("search", "GET", "/v1/cameras").json()["cameras"]) == 1
    assert caller.service.gallery("yard").gallery.recorded().tracks == 1
    actions = [line.action for line in caller.audited() if line.action.startswith("camera")]
    assert actions[:4] == ["camera.add", "camera.add", "camera.stop", "camera.start"]


def test_a_watch_tells_once_of_a_track_and_survives(start: Start) -> None:
    caller = start()
    asked = {
        "name": "hats", "gallery": "yard", "description": "hat", "min_likelihood": 0.0,
        "reason": "theft", "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }  # fmt: skip
    made = caller("admin", "POST", "/v1/watches", json=asked)
    assert made.status_code == 201
    number = made.json()["id"]
    first = caller.add(1, track="a")
    caller.add(2, track="a")
    told = caller("admin", "GET", f"/v1/watches/{number}/messages").json()["messages"]
    assert [(message["type"], message["uri"]) for message in told] == [("new", first)]
    hit = caller.search(description="hat", where={"tracks": ["a"]}, by_track=False).json()["hits"]
    assert told[0]["likelihood"] == pytest.approx(
        next(one["likelihood"] for one in hit if one["uri"] == first), abs=1e-5
    )
    caller = start()
    (kept,) = caller("admin", "GET", "/v1/watches").json()["watches"]
    assert (kept["id"], kept["fired"], kept["active"], kept["created_by"]) == (number, 1, True, "admin")
    caller.add(3, track="b")
    assert len(caller("admin", "GET", f"/v1/watches/{number}/messages").json()["messages"]) == 2
    assert caller("admin", "DELETE", f"/v1/watches/{number}").status_code == 204
    assert caller("admin", "GET", f"/v1/watches/{number}").status_code == 404
    actions = [line.action for line in caller.audited()]
    assert [actions.count(name) for name in ("watch.create", "watch.fire", "watch.delete")] == [1, 2, 1]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"deliver": [{"kind": "webhook", "url": "https://evil.example/"}]}, 400, "evil.example"),
        ({"deliver": [{"kind": "mqtt", "topic": "a"}]}, 400, ""),
        ({"expires_at": LATER.isoformat()}, 400, ""),
        ({"expires_at": NOON.isoformat()}, 400, ""),
        ({"cameras": ["dor"]}, 400, "dor"),
        ({"description": "male", "reason": " "}, 403, "state one"),
        ({"description": "moustache"}, 400, "moustache"),
    ],
)
def test_a_watch_that_may_not_be(yard: Caller, change: dict[str, Any], status: int, said: str) -> None:
    asked = {
        "name": "hats", "gallery": "yard", "description": "hat", "min_likelihood": 0.5,
        "reason": "theft", "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(), **change,
    }  # fmt: skip
    answer = yard("admin", "POST", "/v1/watches", json=asked)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert yard("admin", "GET", "/v1/watches").json() == {"watches": []}


def test_a_preview_says_what_a_threshold_would_have_meant(yard: Caller) -> None:
    answer = yard("admin", "POST", "/v1/watches/preview", json={"gallery": "yard", "description": "hat"}).json()
    assert answer["tracks"] == 5
    alarms = [one["alarms"] for one in answer["thresholds"]]
    assert alarms == sorted(alarms, reverse=True)


def test_roles(yard: Caller) -> None:
    """Who may what: a table of all routes."""
    description = yard.client.get("/openapi.json").json()
    for path, operations in description["paths"].items():
        for method in operations:
            real = path.format(gallery="yard", path="x", name="x", watch_id="x")
            public = f"{method.upper()} {path}" in {"GET /healthz", "GET /readyz", "POST /v1/session"}
            stranger = yard("nobody", method.upper(), real)
            assert (stranger.status_code == 401) is not public, (method, path, stranger.status_code)
            for role in ("search", "ingest"):
                answer = yard(role, method.upper(), real) if path != "/v1/events" else None
                if answer is not None and not public and path not in ("/v1/session", "/v1/version", "/v1/health"):
                    assert (answer.status_code == 403) is (role not in WHO_MAY[f"{method.upper()} {path}"]), (
                        role,
                        path,
                    )


G = "/v1/galleries"
WHO_MAY: dict[str, set[str]] = {
    "GET /metrics": set(),
    f"GET {G}": {"search"},
    f"GET {G}/{{gallery}}/words": {"search"},
    f"POST {G}/{{gallery}}/search": {"search"},
    f"POST {G}/{{gallery}}/search/image": {"search"},
    f"GET {G}/{{gallery}}/crops/{{path}}": {"search"},
    f"POST {G}/{{gallery}}/crops": {"ingest"},
    f"POST {G}/{{gallery}}/crops/batch": {"ingest"},
    f"POST {G}/{{gallery}}/remove": set(),
    f"POST {G}/{{gallery}}/purge": set(),
    f"POST {G}/{{gallery}}/swap": set(),
    "GET /v1/cameras": {"search"},
    "POST /v1/cameras": set(),
    "POST /v1/cameras/{name}/start": set(),
    "POST /v1/cameras/{name}/stop": set(),
    "DELETE /v1/cameras/{name}": set(),
    "GET /v1/watches": set(),
    "POST /v1/watches": set(),
    "POST /v1/watches/preview": set(),
    "GET /v1/watches/{watch_id}": set(),
    "DELETE /v1/watches/{watch_id}": set(),
    "GET /v1/watches/{watch_id}/messages": set(),
    "GET /v1/audit": set(),
}
"""The roles besides `admin` that each route takes."""


def test_a_session_is_a_cookie(yard: Caller) -> None:
    client = yard.client
    assert client.post("/v1/session", json={"token": "sal_wrong"}).status_code == 401
    begun = client.post("/v1/session", json={"token": yard.tokens["search"]})
    assert begun.json() == {"name": "search", "roles": ["search"], "open_to_all": False}
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in begun.headers["set-cookie"].split(";")}
    assert client.get("/v1/session").json()["name"] == "search"
    assert client.post(f"{G}/yard/search", json={"description": "hat"}).status_code == 403  # another page could
    own = {"X-Sal-Request": "1"}
    assert client.post(f"{G}/yard/search", json={"description": "hat"}, headers=own).status_code == 200
    assert client.delete("/v1/session", headers=own).status_code == 204
    assert client.get("/v1/session").status_code == 401
    assert [line.action for line in yard.audited() if line.action.startswith("session")] == [
        "session.refused",
        "session.begin",
    ]


def test_health_and_metrics_and_audit(yard: Caller) -> None:
    assert yard.client.get("/healthz").text == "ok"
    assert yard.client.get("/readyz").json() == {"ready": True}
    health = yard("search", "GET", "/v1/health").json()
    assert {device["device"] for device in health["devices"]} == {"cpu"}
    yard.search(description="hat")
    text = yard("admin", "GET", "/metrics").text
    assert 'sal_gallery_images{gallery="yard"} 12.0' in text
    assert 'sal_intake_images_total{gallery="yard",outcome="kept"} 12.0' in text
    assert "sal_first_hit_likelihood_count" in text
    audit = yard("admin", "GET", "/v1/audit?limit=2").json()
    assert [line["action"] for line in audit["lines"]] == ["audit.read", "search"]
    assert audit["lines"][1]["what"]["asked"] == {"description": "hat"}
    assert audit["head"] == audit["lines"][0]["hash"] == yard.service.audit.head
    older = yard("admin", "GET", f"/v1/audit?before={audit['lines'][1]['sequence']}&limit=1").json()["lines"]
    assert older[0]["sequence"] == audit["lines"][1]["sequence"] - 1
    assert verify_log(yard.service.audit.path).ok


def test_what_forgets_its_retention_is_reminded(start: Start) -> None:
    caller = start(policy=Policy(camera_days={"door": 1.0}))
    now = datetime.now(UTC)
    for age, camera in ((2.0, "door"), (0.5, "door"), (9.0, "gate")):
        given = {"camera": camera, "captured_at": (now - timedelta(days=age)).isoformat(), "track": str(age)}
        assert (
            caller("ingest", "POST", f"{G}/yard/crops", params=given, content=picture(int(age * 2))).status_code == 201
        )
    caller.service._keep_house()
    left = {item.track for item in caller.service.gallery("yard").gallery.all_items()}
    assert left == {"0.5", "9.0"}
    assert "retention" in [line.action for line in caller.audited()]


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within 30 seconds")
