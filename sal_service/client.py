"""A client of the service, for programs: each method is a route, with the models of `sal_service/api/models.py`.

`Client("https://sal.example.org", token).search("yard", SearchRequest(description="red coat, backpack"))`
"""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from sal_runtime.errors import InputError, SalError
from sal_service.api import models

Given = TypeVar("Given", bound=BaseModel)
Query = Mapping[str, object]
JSON = "application/json"
IMAGE = "image/jpeg"


class ServiceError(SalError):
    """The service refused a request, or could not be reached (`status` 0).

    Args:
        status: of the answer.
        message: what the service says.
        parameter: what is to blame.
        retry_after: seconds to wait, where the service says so.
    """

    def __init__(
        self, status: int, message: str, parameter: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, parameter=parameter)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class NewImage:
    """A picture of one person to add: the bytes of an image file, and what is known of it.

    `captured_at` has a zone; `box` is left, top, width, height in pixels of the camera's picture.
    """

    content: bytes
    camera: str
    captured_at: datetime
    track: str | None = None
    box: tuple[int, int, int, int] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ServiceEvent:
    """Something that happened: `kept`, `camera`, `watch`, or `lost` for events that are gone; `id` to go on from."""

    kind: str
    data: dict[str, Any]
    id: str | None


class Client:
    """Asks one service; may be used by several threads at once: each request has a connection of its own.

    Args:
        url: where the service is, such as `https://sal.example.org`.
        token: whose roles decide what may be asked; None for a service without tokens.
        timeout: seconds without a byte after which a request fails.
        certificates: file of certificates to trust (PEM) instead of the system's.
        insecure: let the token go over plain HTTP to another machine.

    Raises:
        InputError: the address is none, or the token would go over plain HTTP to another machine.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        certificates: Path | None = None,
        insecure: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InputError(f"{url!r} is no address of a service; expected https://host:port", parameter="url")
        self._is_tls = parts.scheme == "https"
        if token and not (self._is_tls or insecure or _is_loopback(parts.hostname)):
            raise InputError(
                f"the token would go to {parts.hostname} in the clear; use https, or say that this is meant",
                parameter="insecure",
            )
        self._host, self._port, self._prefix = parts.hostname, parts.port, parts.path.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout = timeout
        self._tls = ssl.create_default_context(cafile=certificates) if self._is_tls else None

    def version(self) -> models.VersionAnswer:
        """The version of the service."""
        return self._get("/v1/version", models.VersionAnswer)

    def health(self) -> models.HealthAnswer:
        """The state of the service, and the devices that it really uses."""
        return self._get("/v1/health", models.HealthAnswer)

    def session(self) -> models.SessionAnswer:
        """Whose token it is."""
        return self._get("/v1/session", models.SessionAnswer)

    def galleries(self) -> models.GalleriesAnswer:
        """All galleries."""
        return self._get("/v1/galleries", models.GalleriesAnswer)

    def words(self, gallery: str) -> models.WordsAnswer:
        """All that a gallery can be asked for."""
        return self._get(f"{_gallery(gallery)}/words", models.WordsAnswer)

    def search(self, gallery: str, request: models.SearchRequest) -> models.SearchAnswer:
        """People who fit a description, or who are like images."""
        return self._post(f"{_gallery(gallery)}/search", models.SearchAnswer, request)

    def search_image(
        self,
        gallery: str,
        content: bytes,
        *,
        cameras: Sequence[str] = (),
        by_track: bool = True,
        limit: int = 20,
        reason: str | None = None,
    ) -> models.SearchAnswer:
        """People who are like somebody in a picture from elsewhere: the bytes of an image file."""
        query = {"camera": list(cameras), "by_track": by_track, "limit": limit, "reason": reason}
        return self._post(f"{_gallery(gallery)}/search/image", models.SearchAnswer, content, query)

    def picture(self, crop_url: str) -> bytes:
        """The image file behind the `crop_url` of an image."""
        if not crop_url.startswith("/v1/"):
            raise InputError(f"{crop_url!r} is no crop_url of this service", parameter="crop_url")
        return self._ask("GET", crop_url)

    def add(self, gallery: str, image: NewImage) -> models.KeptAnswer:
        """Add a picture of one person; it is kept when this returns.

        Raises:
            InputError: a key of its metadata has a `=`, which only a batch can hold.
        """
        if any("=" in key for key in image.metadata):
            raise InputError("a key of metadata with `=` can be added in a batch only", parameter="metadata")
        query = {
            "camera": image.camera,
            "captured_at": image.captured_at.isoformat(),
            "track": image.track,
            "box": None if image.box is None else ",".join(map(str, image.box)),
            "meta": [f"{key}={value}" for key, value in image.metadata.items()],
        }
        return self._post(f"{_gallery(gallery)}/crops", models.KeptAnswer, image.content, query)

    def add_batch(self, gallery: str, images: Sequence[NewImage]) -> models.BatchAnswer:
        """Add many pictures; the answer tells what became of each, in their order."""
        kind, body = _form(images)
        answer = self._ask("POST", f"{_gallery(gallery)}/crops/batch", body, kind)
        return _read(models.BatchAnswer, answer)

    def remove(self, gallery: str, uris: Sequence[str], reason: str) -> models.RemovedAnswer:
        """Remove images for good."""
        request = models.RemoveRequest(uris=list(uris), reason=reason)
        return self._post(f"{_gallery(gallery)}/remove", models.RemovedAnswer, request)

    def purge(self, gallery: str, request: models.PurgeRequest) -> models.RemovedAnswer:
        """Remove what fits conditions, or only tell what that would be."""
        return self._post(f"{_gallery(gallery)}/purge", models.RemovedAnswer, request)

    def swap(self, gallery: str, bundle: str, reason: str) -> models.GalleryAnswer:
        """Let another bundle take over; searches go on meanwhile."""
        request = models.SwapRequest(bundle=bundle, reason=reason)
        return self._post(f"{_gallery(gallery)}/swap", models.GalleryAnswer, request)

    def cameras(self) -> models.CamerasAnswer:
        """All cameras."""
        return self._get("/v1/cameras", models.CamerasAnswer)

    def add_camera(self, request: models.CameraRequest) -> models.CameraAnswer:
        """Add a camera and take it in."""
        return self._post("/v1/cameras", models.CameraAnswer, request)

    def start_camera(self, name: str) -> models.CameraAnswer:
        """Take a camera in again."""
        return self._post(f"/v1/cameras/{_part(name)}/start", models.CameraAnswer)

    def stop_camera(self, name: str) -> models.CameraAnswer:
        """Take a camera in no more; its images stay."""
        return self._post(f"/v1/cameras/{_part(name)}/stop", models.CameraAnswer)

    def forget_camera(self, name: str) -> None:
        """Forget a camera; its images stay."""
        self._ask("DELETE", f"/v1/cameras/{_part(name)}")

    def watches(self) -> models.WatchesAnswer:
        """All watches."""
        return self._get("/v1/watches", models.WatchesAnswer)

    def add_watch(self, request: models.WatchRequest) -> models.WatchAnswer:
        """Tell from now on when somebody comes who fits a description."""
        return self._post("/v1/watches", models.WatchAnswer, request)

    def preview_watch(self, request: models.WatchPreviewRequest) -> models.WatchPreviewAnswer:
        """What each `min_likelihood` would have meant on the last day."""
        return self._post("/v1/watches/preview", models.WatchPreviewAnswer, request)

    def watch(self, watch_id: str) -> models.WatchAnswer:
        """One watch."""
        return self._get(f"/v1/watches/{_part(watch_id)}", models.WatchAnswer)

    def remove_watch(self, watch_id: str) -> None:
        """End a watch."""
        self._ask("DELETE", f"/v1/watches/{_part(watch_id)}")

    def watch_messages(self, watch_id: str, limit: int = 100) -> models.WatchMessagesAnswer:
        """The messages of a watch, newest first."""
        return self._get(f"/v1/watches/{_part(watch_id)}/messages", models.WatchMessagesAnswer, {"limit": limit})

    def audit(self, before: int | None = None, limit: int = 100) -> models.AuditAnswer:
        """Lines of the audit log, newest first, older than the sequence number `before`."""
        return self._get("/v1/audit", models.AuditAnswer, {"before": before, "limit": limit})

    def events(self, last_event_id: str | None = None) -> Iterator[ServiceEvent]:
        """What happens now, until the service ends the stream; go on from the last `id` then.

        Raises:
            ServiceError: the service refused, or nothing came for `timeout` seconds (it says every 15 that it lives).
        """
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        connection, response = self._open("GET", "/v1/events", None, headers)
        try:
            fields: dict[str, str] = {}
            for line in response:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif line == b"\n":
                    if "data" in fields:
                        yield ServiceEvent(fields["event"], json.loads(fields["data"]), fields.get("id"))
                    fields = {}
        except (OSError, HTTPException) as error:
            raise ServiceError(0, f"the events of {self._host} broke off: {error}") from error
        finally:
            connection.close()

    def _get(self, path: str, answer: type[Given], query: Query | None = None) -> Given:
        return _read(answer, self._ask("GET", path + _query(query)))

    def _post(
        self, path: str, answer: type[Given], body: BaseModel | bytes | None = None, query: Query | None = None
    ) -> Given:
        if isinstance(body, BaseModel):
            content: bytes | None = body.model_dump_json(exclude_none=True).encode()
            kind = JSON
        else:
            content, kind = body, IMAGE
        return _read(answer, self._ask("POST", path + _query(query), content, kind))

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str | None = None) -> bytes:
        headers = {"Content-Type": kind} if body is not None and kind is not None else {}
        connection, response = self._open(method, path, body, headers)
        try:
            return response.read()
        except (OSError, HTTPException) as error:
            raise ServiceError(0, f"the answer of {self._host} broke off: {error}") from error
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Send a request; the answer is one that is not refused, and is still to be read."""
        connection = self._connection()
        try:
            connection.request(method, self._prefix + path, body, {**self._headers, **headers, "Connection": "close"})
            response = connection.getresponse()
            if response.status < 300:
                return connection, response
            refusal = _refusal(response, response.read())
        except (OSError, HTTPException) as error:
            refusal = ServiceError(0, f"{self._host} does not answer: {error}")
        connection.close()
        raise refusal

    def _connection(self) -> HTTPConnection:
        if self._tls is not None:
            return HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        return HTTPConnection(self._host, self._port, timeout=self._timeout)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _part(text: str) -> str:
    return quote(text, safe="")


def _gallery(name: str) -> str:
    return f"/v1/galleries/{_part(name)}"


def _query(query: Query | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    told = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
    encoded = urlencode(told, doseq=True)
    return f"?{encoded}" if encoded else ""


def _form(images: Sequence[NewImage]) -> tuple[str, bytes]:
    """A multipart body: `items` says what is known of each file; the files are named by their place."""
    boundary = secrets.token_hex(16)
    items = [
        {
            "file": str(number),
            "camera": image.camera,
            "captured_at": image.captured_at.isoformat(),
            "track": image.track,
            "box": image.box,
            "metadata": dict(image.metadata),
        }
        for number, image in enumerate(images)
    ]
    parts = [('name="items"', JSON, json.dumps(items).encode())]
    parts += [(f'name="files"; filename="{number}"', IMAGE, image.content) for number, image in enumerate(images)]
    pieces = []
    for name, kind, content in parts:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\nContent-Type: {kind}\r\n\r\n"
        pieces += [head.encode(), content, b"\r\n"]
    return f"multipart/form-data; boundary={boundary}", b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _read(answer: type[Given], content: bytes) -> Given:
    try:
        return answer.model_validate_json(content)
    except ValidationError as error:
        text = f"the answer is no {answer.__name__}; client and service are of different versions"
        raise ServiceError(0, text) from error


def _refusal(response: HTTPResponse, content: bytes) -> ServiceError:
    retry_after = response.headers.get("Retry-After", "")
    wait = float(retry_after) if retry_after.isdecimal() else None
    try:
        problem = models.Problem.model_validate_json(content)
    except ValidationError:
        return ServiceError(response.status, f"{response.status} {response.reason}", retry_after=wait)
    return ServiceError(response.status, problem.detail, problem.parameter, wait)
