"""The typed client: against the description of the service, and against the service."""

from __future__ import annotations

import inspect
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, get_type_hints
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from sal_runtime.errors import InputError
from sal_service.api import models
from sal_service.client import Client, NewImage, ServiceError
from tests.service.api.whole_service import NUM_IMAGES, Whole, picture, whole_service

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER = datetime(2026, 12, 24, tzinfo=UTC)
IMAGE = NewImage(picture(3), "gate", NOON, "t1", (1, 2, 20, 40), {"zone": "north & south", "x": "é=ü"})
WATCH = models.WatchRequest(
    name="red",
    gallery="yard",
    description="hat",
    min_likelihood=0.5,
    reason="test",
    expires_at=LATER,
    deliver=[models.WebhookTarget(url="https://alerts.example.org/x"), models.MqttTarget(topic="a/b")],
)
SEARCH = models.SearchRequest(
    description="hat",
    where=models.Where(cameras=["door"], captured_from=NOON, metadata={"zone": ["north"]}),
    min_likelihood=0.1,
)
CALLS: dict[str, Callable[[Client], Any]] = {
    "version": lambda client: client.version(),
    "health": lambda client: client.health(),
    "session": lambda client: client.session(),
    "galleries": lambda client: client.galleries(),
    "words": lambda client: client.words("yard"),
    "search": lambda client: client.search("yard", SEARCH),
    "search_image": lambda client: client.search_image("yard", b"x", cameras=["a", "b"], limit=3, reason="test"),
    "picture": lambda client: client.picture("/v1/galleries/yard/crops/a/b.jpg"),
    "add": lambda client: client.add("yard", IMAGE),
    "add_batch": lambda client: client.add_batch("yard", [IMAGE, IMAGE]),
    "remove": lambda client: client.remove("yard", ["crop:a"], "test"),
    "purge": lambda client: client.purge("yard", models.PurgeRequest(before=NOON, dry_run=True, reason="test")),
    "swap": lambda client: client.swap("yard", "other.bundle", "test"),
    "cameras": lambda client: client.cameras(),
    "add_camera": lambda client: client.add_camera(models.CameraRequest(name="a", source="rtsp://b", gallery="yard")),
    "start_camera": lambda client: client.start_camera("gate"),
    "stop_camera": lambda client: client.stop_camera("gate"),
    "forget_camera": lambda client: client.forget_camera("gate"),
    "watches": lambda client: client.watches(),
    "add_watch": lambda client: client.add_watch(WATCH),
    "preview_watch": lambda client: client.preview_watch(models.WatchPreviewRequest(gallery="yard", description="hat")),
    "watch": lambda client: client.watch("w1"),
    "remove_watch": lambda client: client.remove_watch("w1"),
    "watch_messages": lambda client: client.watch_messages("w1"),
    "audit": lambda client: client.audit(before=7),
    "events": lambda client: next(client.events("x-1")),
}
FOR_THE_PAGE = {("post", "/v1/session"), ("delete", "/v1/session")}
SUCCESSES = ("200", "201", "202", "204")


class RecordedError(Exception):
    """A request, instead of its answer."""

    def __init__(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        self.method, self.path, self.body, self.headers = method.lower(), urlsplit(path).path, body, headers
        self.query = parse_qs(urlsplit(path).query, keep_blank_values=True, strict_parsing="?" in path)


class Recorder(Client):
    def _open(self, *sent: Any) -> Any:
        raise RecordedError(*sent)


def recorded(name: str) -> RecordedError:
    with pytest.raises(RecordedError) as found:
        CALLS[name](Recorder("http://localhost"))
    return found.value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole_service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def client(whole: Whole) -> Client:
    return Client(f"http://127.0.0.1:{whole.address[1]}", whole.tokens["admin"])


def operation_of(description: dict[str, Any], sent: RecordedError) -> tuple[str, dict[str, Any]]:
    """The one operation that a request asks for: the path with the fewest variables that fits."""
    fitting = []
    for path, operations in description["paths"].items():
        pattern = re.sub(r"\\\{path\\\}", ".+", re.escape(path))
        if sent.method in operations and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", pattern), sent.path):
            fitting.append((path.count("{"), path))
    assert fitting, f"{sent.method} {sent.path} is not described"
    path = min(fitting)[1]
    return path, description["paths"][path][sent.method]


def schema_name(content: dict[str, Any]) -> str | None:
    reference: str = content.get("schema", {}).get("$ref", "")
    return reference.rpartition("/")[2] or None


@pytest.mark.parametrize("name", CALLS)
def test_a_method_asks_for_what_is_described(whole: Whole, name: str) -> None:
    description = whole.app.openapi()
    sent = recorded(name)
    _, operation = operation_of(description, sent)
    parameters = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    assert sent.query.keys() <= {one["name"] for one in parameters}
    assert {one["name"] for one in parameters if one.get("required")} <= sent.query.keys()

    assert (sent.body is not None) == ("requestBody" in operation)
    if sent.body is not None:
        kinds = operation["requestBody"]["content"]
        kind = sent.headers["Content-Type"].partition(";")[0]
        found = kinds.get(kind) or kinds.get(kind.partition("/")[0] + "/*")
        assert found is not None, f"{kind} is none of {list(kinds)}"
        if kind == "application/json":
            schema = {**found["schema"], "components": description["components"]}
            jsonschema.Draft202012Validator(schema).validate(json.loads(sent.body))

    answers = [operation["responses"][status] for status in SUCCESSES if status in operation["responses"]]
    assert len(answers) == 1
    answer = get_type_hints(getattr(Client, name))["return"]
    described = {schema_name(content) for content in answers[0].get("content", {}).values()} - {None}
    assert described == ({answer.__name__} if isinstance(answer, type) and issubclass(answer, models.Answer) else set())


def test_every_route_has_a_method(whole: Whole) -> None:
    description = whole.app.openapi()
    public = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert public == CALLS.keys()
    asked = {(sent.method, operation_of(description, sent)[0]) for sent in map(recorded, CALLS)}
    described = {
        (method, path)
        for path, operations in description["paths"].items()
        for method in operations
        if path.startswith("/v1/")
    }
    assert described - asked == FOR_THE_PAGE


def test_from_the_first_image_to_the_last(whole: Whole, client: Client) -> None:
    assert client.session().roles == ["admin"]
    kept = client.add("yard", IMAGE).image
    assert (kept.camera, kept.track, kept.box, kept.captured_at) == ("gate", "t1", (1, 2, 20, 40), NOON)
    assert kept.metadata == dict(IMAGE.metadata)
    assert kept.crop_url is not None
    assert client.picture(kept.crop_url) == IMAGE.content

    batch = client.add_batch(
        "yard", [NewImage(picture(4), "gate", LATER, "t2"), NewImage(b"none", "gate", LATER, "t3")]
    )
    assert [(one.file, one.image is None, one.problem is None) for one in batch.files] == [
        ("0", False, True),
        ("1", True, False),
    ]
    found = client.search("yard", models.SearchRequest(description="hat", where=models.Where(cameras=["gate"])))
    assert {hit.track for hit in found.hits} == {"t1", "t2"}
    alike = client.search_image("yard", IMAGE.content, limit=1, by_track=False)
    assert alike.hits[0].score == pytest.approx(1, abs=0.01)
    assert client.galleries().galleries[0].images == NUM_IMAGES + 2
    assert client.words("yard").groups

    purge = models.PurgeRequest(where=models.Where(cameras=["gate"]), reason="test", dry_run=True)
    gone = client.purge("yard", purge).uris
    assert len(gone) == 2
    assert client.remove("yard", gone, "test").uris == sorted(gone)
    assert client.galleries().galleries[0].images == NUM_IMAGES
    assert [line.action for line in client.audit(limit=2).lines] == ["audit.read", "remove"]


def test_events_arrive_and_can_be_gone_on_from(whole: Whole, client: Client) -> None:
    events = client.events()
    first: list[Any] = []
    listener = threading.Thread(target=lambda: first.append(next(events)))
    listener.start()
    while not whole.service.hub.num_clients():
        time.sleep(0.01)
    whole.service.hub.publish("kept", {"n": 1})
    listener.join(10)
    whole.service.hub.publish("kept", {"n": 2})
    assert (first[0].kind, first[0].data) == ("kept", {"n": 1})
    assert next(client.events(first[0].id)).data == {"n": 2}
    events.close()


def test_a_refusal_says_what_the_service_says(whole: Whole) -> None:
    address = f"http://127.0.0.1:{whole.address[1]}"
    with pytest.raises(ServiceError, match="token") as refused:
        Client(address, "sal_wrong").galleries()
    assert refused.value.status == 401
    with pytest.raises(ServiceError, match="role") as refused:
        Client(address, whole.tokens["search"]).remove("yard", ["crop:a"], "test")
    assert refused.value.status == 403
    with pytest.raises(ServiceError) as refused:
        Client(address, whole.tokens["admin"]).search("yard", models.SearchRequest(description="no such word at all"))
    assert refused.value.status == 400


def test_no_service_and_no_answer_are_errors_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServiceError, match="does not answer") as failed:
            Client(address, timeout=0.1).version()
        assert failed.value.status == 0
    with pytest.raises(ServiceError, match="does not answer"):
        Client(address).version()


@pytest.mark.parametrize(
    "url", ["sal.example.org", "ftp://x", "http://", "https://user@x", "https://x/?a=b", "file:///x"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputError, match="address of a service"):
        Client(url)


def test_a_token_goes_to_another_machine_over_tls_only() -> None:
    with pytest.raises(InputError, match="in the clear"):
        Client("http://sal.example.org", "sal_x")
    for url in ("https://sal.example.org", "http://127.0.0.1:8377", "http://localhost", "http://[::1]:1"):
        Client(url, "sal_x")
    Client("http://sal.example.org", "sal_x", insecure=True)
    with pytest.raises(InputError, match="batch only"):
        Client("http://localhost").add("yard", NewImage(b"", "gate", NOON, metadata={"a=b": "c"}))
    with pytest.raises(InputError, match="crop_url"):
        Client("http://localhost").picture("https://evil.example/x.jpg")
