"""What requests and answers look like: the contract of the service, for people, programs and `openapi.json`.

Moments are RFC 3339 with a zone; likelihoods and shares are fractions 0..1; boxes are left, top, width, height in
pixels of the camera's picture. A request with an unknown key is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sal_service.api.values import Answer, Fraction, Moment, Name, Request, Text, Uri, YesOrNo
from sal_service.governance.tokens import Role

MOST_HITS = 200
FARTHEST_HIT = 10_000


class Problem(Answer):
    """Why a request failed (RFC 9457, `application/problem+json`).

    `detail` says what was got, what was expected and what to do; `parameter` names the key that is to blame.
    """

    status: int
    title: str
    detail: str
    parameter: str | None = None


class Where(Request):
    """Conditions on images, all of which must hold."""

    cameras: list[Name] = Field(default=[], max_length=1000)
    tracks: list[Text] = Field(default=[], max_length=1000)
    captured_from: Moment | None = None
    captured_until: Moment | None = None
    metadata: dict[Text, list[Text]] = Field(default={}, max_length=20)


class TermRequest(Request):
    """One thing to look for, or not to see: any of `values`, such as `backpack` or `upper-colour=red`."""

    values: list[Text] = Field(min_length=1, max_length=50)
    negated: YesOrNo = False


class SearchRequest(Request):
    """Whom to look for.

    A sentence or a query (`description`), terms, or images to be like (`like`). `right` and `wrong` are images that
    were marked; they refine a description. `reason` is needed where the policy asks for one.
    """

    description: Text | None = None
    terms: list[TermRequest] = Field(default=[], max_length=50)
    like: list[Uri] = Field(default=[], max_length=20)
    right: list[Uri] = Field(default=[], max_length=100)
    wrong: list[Uri] = Field(default=[], max_length=100)
    where: Where = Where()
    by_track: YesOrNo = True
    order: Literal["likelihood", "newest"] = "likelihood"
    min_likelihood: Fraction | None = None
    limit: int = Field(default=20, ge=1, le=MOST_HITS)
    offset: int = Field(default=0, ge=0, le=FARTHEST_HIT)
    reason: Text | None = None


class TermAnswer(Answer):
    """A term as it was understood, and how well its words are recognised (share of test images, by attribute)."""

    text: str
    understood: str
    sensitive: bool
    recognised: dict[str, float]


class ImageAnswer(Answer):
    """One image of the gallery."""

    uri: str
    crop_url: str | None
    camera: str | None
    track: str | None
    captured_at: datetime | None
    box: tuple[int, int, int, int] | None
    metadata: dict[str, str]


class HitAnswer(ImageAnswer):
    """One image of an answer; `others` are the other images of its track, in an answer by track.

    `likelihood` is None where nothing is known of it: in a search by likeness.
    """

    rank: int
    likelihood: float | None
    score: float
    evidence: dict[str, float]
    others: list[HitAnswer] = Field(default=[])


class BundleAnswer(Answer):
    """The encoders that made the embeddings; `generation` counts the swaps since the service began."""

    name: str
    fingerprint: str
    precision: str
    generation: int


class SearchAnswer(Answer):
    """Hits, best or newest first, and what is to be known of them."""

    understood: list[TermAnswer]
    conditions: list[str]
    notes: list[str]
    hits: list[HitAnswer]
    next_offset: int | None
    num_images: int
    bundle: BundleAnswer


class WordAnswer(Answer):
    """A word of a schema; `value` is what a term takes. `recognised` is None where it was not measured.

    Where a word of an exclusive group is not `allowed`, nothing of that group may be excluded, since it would be left.
    """

    value: str
    word: str
    allowed: bool
    recognised: float | None
    weak: bool
    synonyms: list[str]


class WordGroupAnswer(Answer):
    """Words that exclude each other (`exclusive`), or a word and its opposite (`binary`)."""

    name: str
    kind: Literal["binary", "exclusive"]
    sensitive: bool
    allowed: Literal["yes", "with reason", "no"]
    words: list[WordAnswer]


class WordsAnswer(Answer):
    """All that a gallery can be asked for."""

    groups: list[WordGroupAnswer]


class GalleryAnswer(Answer):
    """A gallery that is served."""

    name: str
    images: int
    tracks: int
    cameras: list[str]
    captured: tuple[datetime, datetime] | None
    bundle: BundleAnswer
    swapping: str | None


class GalleriesAnswer(Answer):
    """All galleries."""

    galleries: list[GalleryAnswer]


class KeptAnswer(Answer):
    """An image that the gallery holds now: it will be there after a crash."""

    image: ImageAnswer


class KeptOrRefused(Answer):
    """What became of one file of a batch."""

    file: str
    image: ImageAnswer | None
    problem: str | None


class BatchAnswer(Answer):
    """What became of each file, in their order."""

    files: list[KeptOrRefused]


class RemoveRequest(Request):
    """Images to remove for good, and why."""

    uris: list[Uri] = Field(min_length=1, max_length=10_000)
    reason: Text


class PurgeRequest(Request):
    """Remove what the conditions let through and, with `before`, what was captured earlier; at least one of the two."""

    where: Where = Where()
    before: Moment | None = None
    dry_run: YesOrNo = False
    reason: Text


class RemovedAnswer(Answer):
    """The images that were removed, or would be (`dry_run`)."""

    uris: list[str]
    dry_run: bool


class SwapRequest(Request):
    """The name of a bundle in the service's folder of bundles, which is to take over."""

    bundle: Name
    reason: Text


class CameraRequest(Request):
    """A camera to ingest; the keys are those of a file of cameras."""

    name: Name
    source: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    gallery: Name
    zone: Text | None = None
    rate: float | None = Field(default=None, gt=0, le=1000)
    keep: int = Field(default=3, ge=1, le=20)
    min_height: int = Field(default=48, ge=1, le=10_000)
    min_score: Fraction = 0.4
    join: YesOrNo = False


class CameraAnswer(Answer):
    """A camera and what became of its frames; `source` hides passwords, `age_seconds` is that of its newest frame."""

    name: str
    gallery: str
    source: str
    running: bool
    condition: str
    age_seconds: float | None
    received: int
    dropped: int
    detected: int
    people: int
    tracks: int
    kept: int
    given_up: int
    reconnects: int
    lost_seconds: float
    notes: list[str]


class CamerasAnswer(Answer):
    """All cameras."""

    cameras: list[CameraAnswer]


class WebhookTarget(Request):
    """An address that messages are posted to; its host must be on the policy's list."""

    kind: Literal["webhook"] = "webhook"
    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class MqttTarget(Request):
    """A topic of the broker that the policy names."""

    kind: Literal["mqtt"] = "mqtt"
    topic: Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00+#]+$")]


Target = Annotated[WebhookTarget | MqttTarget, Field(discriminator="kind")]


class WatchRequest(Request):
    """Tell when somebody comes who fits a description; it ends by itself (`expires_at`)."""

    name: Name
    gallery: Name
    description: Text
    cameras: list[Name] = Field(default=[], max_length=1000)
    min_likelihood: Fraction
    once_per_track: YesOrNo = True
    reason: Text
    expires_at: Moment
    deliver: list[Target] = Field(default=[], max_length=10)


class WatchAnswer(Answer):
    """A watch and what became of its messages."""

    id: str
    name: str
    gallery: str
    description: str
    cameras: list[str]
    min_likelihood: float
    once_per_track: bool
    reason: str
    expires_at: datetime
    deliver: list[WebhookTarget | MqttTarget]
    created_by: str
    created_at: datetime
    active: bool
    fired: int
    waiting: int
    delivered: int
    dead: int


class WatchesAnswer(Answer):
    """All watches."""

    watches: list[WatchAnswer]


class WatchMessage(Answer):
    """What a watch tells: a track began to fit, a better image of it came, or it ended. `id` is for deduplication."""

    id: str
    type: Literal["new", "update", "end"]
    watch: str
    name: str
    gallery: str
    camera: str | None
    track: str | None
    uri: str
    captured_at: datetime | None
    box: tuple[int, int, int, int] | None
    likelihood: float
    evidence: dict[str, float]
    crop_url: str | None
    bundle: str


class WatchMessagesAnswer(Answer):
    """Messages of a watch, newest first."""

    messages: list[WatchMessage]


class WatchPreviewRequest(Request):
    """A description whose alarms are to be estimated from what the cameras saw in the last day that they have."""

    gallery: Name
    description: Text
    cameras: list[Name] = Field(default=[], max_length=1000)
    reason: Text | None = None


class ThresholdAnswer(Answer):
    """What a `min_likelihood` would have meant on that day.

    `alarms` tracks would have fired, `wrong` of them wrongly, as their likelihoods say.
    """

    min_likelihood: float
    alarms: int
    wrong: float


class WatchPreviewAnswer(Answer):
    """The choice of a `min_likelihood`; `hours` is how much of a day the cameras have."""

    hours: float
    tracks: int
    thresholds: list[ThresholdAnswer]
    notes: list[str]


class SessionRequest(Request):
    """A token, for a cookie that the page's requests carry."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class SessionAnswer(Answer):
    """Who is asking."""

    name: str
    roles: list[Role]
    open_to_all: bool


class DeviceAnswer(Answer):
    """A part of the service and the device that it really runs on."""

    part: str
    device: str
    precision: str | None


class HealthAnswer(Answer):
    """The state of the service; `ready` is False with the reasons in `problems`."""

    ready: bool
    problems: list[str]
    version: str
    devices: list[DeviceAnswer]
    uptime_seconds: float


class ReadyAnswer(Answer):
    """Whether the service can be used."""

    ready: bool


class VersionAnswer(Answer):
    """The version of the service."""

    version: str


class AuditLineAnswer(Answer):
    """One line of the audit log."""

    sequence: int
    at: datetime
    who: str
    action: str
    why: str | None
    what: dict[str, Any]
    hash: str


class AuditAnswer(Answer):
    """Lines of the audit log, newest first, and the hash that the log ends with."""

    lines: list[AuditLineAnswer]
    head: str
