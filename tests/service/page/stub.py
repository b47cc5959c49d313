"""What the stub of the service knows and answers: drawn people, no encoder, no gallery on disk."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from sal_service.api import models
from tests.service.page.drawn_people import CAMERAS, COLOURS, START, Person, people, share

TOKENS: dict[str, list[models.Role]] = {"sal_admin": ["admin"], "sal_search": ["search"], "sal_ingest": ["ingest"]}
BUNDLE = models.BundleAnswer(name="edge", fingerprint="e77d3bbf", precision="fp32", generation=1)
GROUPS: list[tuple[str, str, bool, list[str]]] = [
    ("gender", "binary", True, ["male", "female"]),
    ("age", "exclusive", True, ["under-15", "16-30", "31-45", "over-60"]),
    ("upper-colour", "exclusive", False, list(COLOURS)),
    ("lower-colour", "exclusive", False, list(COLOURS)),
    ("backpack", "binary", False, ["no-backpack", "backpack"]),
    ("hat", "binary", False, ["no-hat", "hat"]),
    ("luggage", "binary", False, ["no-luggage", "luggage"]),
]
WEAK = {"under-15": 0.02}


class RefusedError(Exception):
    """A problem to answer with."""

    def __init__(self, status: int, detail: str, parameter: str | None = None) -> None:
        super().__init__(detail)
        self.problem = models.Problem(status=status, title="refused", detail=detail, parameter=parameter)


class Stub:
    """A service whose answers a test can spoil.

    Attributes:
        forbidden: values of words that the policy does not allow.
        suffix: put behind every string that people, cameras or files could have brought.
        is_open: nobody needs to sign in.
        asked: the bodies of the searches, as they came.
        age: seconds of the newest frame of the camera that is lost.
        viewed: the crops that were asked for.
    """

    def __init__(self, *, suffix: str = "", is_open: bool = False, many: int = 60) -> None:
        self.suffix, self.is_open = suffix, is_open
        self.people = people(many, START)
        self.bundle, self.groups = BUNDLE, GROUPS
        self.forbidden: set[str] = set()
        self.viewed: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.age = 41.0
        self.sessions: dict[str, list[models.Role]] = {}
        self.cameras = {name: True for name in CAMERAS}
        self.watches: dict[str, models.WatchAnswer] = {}
        self.messages: list[models.WatchMessage] = []
        self.audit: list[models.AuditLineAnswer] = []
        self.listeners: list[asyncio.Queue[str | None]] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.note("local", "session.begin", None, {})

    # What tests do to it

    def publish(self, kind: str, data: Any) -> None:
        """Tell all pages that listen."""
        text = f"event: {kind}\ndata: {json.dumps(data)}\n\n"
        assert self.loop is not None
        for queue in self.listeners:
            self.loop.call_soon_threadsafe(queue.put_nowait, text)

    def drop_listeners(self) -> None:
        """Every connection for events ends; the page may open another one."""
        assert self.loop is not None
        for queue in self.listeners:
            self.loop.call_soon_threadsafe(queue.put_nowait, None)

    def swap(self) -> None:
        """Other encoders take over, which know no luggage."""
        self.bundle = self.bundle.model_copy(update={"name": "accurate", "generation": self.bundle.generation + 1})
        self.groups = [group for group in self.groups if group[0] != "luggage"]

    def end_sessions(self) -> None:
        self.sessions.clear()

    def see(self, number: int) -> None:
        """A new person, whom the gallery keeps."""
        person = people(number + 1, START + timedelta(minutes=5))[number]
        person = Person(1000 + number, person.words, person.camera, person.moments)
        self.people.append(person)
        self.publish("kept", {"gallery": "station", "image": self.image(person, 0).model_dump(mode="json")})

    def watch(self, name: str) -> models.WatchAnswer:
        """A watch that somebody created elsewhere."""
        asked = models.WatchRequest(
            name=name,
            gallery="station",
            description="red jacket",
            min_likelihood=0.8,
            reason="case 12",
            expires_at=START + timedelta(days=3),
        )
        return self.keep_watch(asked)

    def keep_watch(self, asked: models.WatchRequest) -> models.WatchAnswer:
        kept = models.WatchAnswer(
            id=secrets.token_hex(4),
            created_by="control room",
            created_at=datetime.now(UTC),
            active=True,
            fired=0,
            waiting=0,
            delivered=0,
            dead=0,
            **asked.model_dump(),
        )
        self.watches[kept.id] = kept
        return kept

    def fire(self, watch: models.WatchAnswer, person: Person, kind: str = "new") -> None:
        image = self.image(person, 0)
        shown = {key: value for key, value in image.model_dump().items() if key not in ("metadata",)}
        message = models.WatchMessage(
            id=secrets.token_hex(4),
            type=kind,  # type: ignore[arg-type]
            watch=watch.id,
            name=watch.name,
            gallery="station",
            likelihood=0.91,
            evidence={word: share(person, word) for word in ("upper-colour=red", "backpack")},
            bundle="edge",
            **shown,
        )
        self.messages.insert(0, message)
        self.publish("watch", message.model_dump(mode="json"))

    # What it answers

    def note(self, who: str, action: str, why: str | None, what: dict[str, Any]) -> None:
        number, now = len(self.audit) + 1, datetime.now(UTC)
        line = models.AuditLineAnswer(
            sequence=number, at=now, who=who, action=action, why=why, what=what, hash=f"{number:064x}"
        )
        self.audit.insert(0, line)

    def image(self, person: Person, number: int) -> models.ImageAnswer:
        uri = f"crop:{person.number}/{number}.jpg{self.suffix}"
        return models.ImageAnswer(
            uri=uri,
            crop_url=f"/v1/galleries/station/crops/{quote(uri[5:], safe='/')}",
            camera=person.camera + self.suffix,
            track=f"{person.number}{self.suffix}",
            captured_at=person.moments[number],
            box=(120, 80, 120 + 48, 80 + 120),
            metadata={"zone" + self.suffix: "hall" + self.suffix},
        )

    def hit(self, person: Person, rank: int, evidence: dict[str, float], likelihood: float | None) -> models.HitAnswer:
        score = round(0.9 - rank / 500, 3)
        others = [
            models.HitAnswer(
                **self.image(person, number).model_dump(),
                rank=rank,
                likelihood=likelihood,
                score=score,
                evidence=evidence,
            )
            for number in range(1, len(person.moments))
        ]
        return models.HitAnswer(
            **self.image(person, 0).model_dump(),
            rank=rank,
            likelihood=likelihood,
            score=score,
            evidence=evidence,
            others=others,
        )

    def find(self, asked: models.SearchRequest) -> models.SearchAnswer:
        if asked.description and "female" in asked.description and asked.reason is None:
            raise RefusedError(403, "the policy wants a reason for gender, a sensitive attribute", "reason")
        terms = understood_terms(asked.description, self.suffix) if asked.description else []
        found = [person for person in self.people if lets_through(asked.where, person, self.suffix)]
        scored = []
        for person in found:
            evidence = {term.text: evidence_of(person, term.text, self.suffix) for term in terms}
            likelihood = min(evidence.values()) ** 1.3 if terms else None
            uris = {self.image(person, number).uri for number in range(len(person.moments))}
            if likelihood is not None and uris & {*asked.right, *asked.wrong}:
                likelihood = 0.99 if uris & set(asked.right) else 0.01
            scored.append((likelihood, person, evidence))
        scored = [one for one in scored if one[0] is None or one[0] >= (asked.min_likelihood or 0)]
        if asked.order == "newest":
            scored.sort(key=lambda one: one[1].moments[0], reverse=True)
        else:
            scored.sort(key=lambda one: -(one[0] or 0))
        end = asked.offset + asked.limit
        part = scored[asked.offset : end]
        hits = [self.hit(p, asked.offset + n, evidence, odds) for n, (odds, p, evidence) in enumerate(part, 1)]
        best = max((odds for odds, *_ in scored if odds is not None), default=1.0)
        notes = [f"no hit is likely to match: the best likelihood is {best:.0%}"] if best < 0.2 else []
        notes += [
            f"{word} is recognised in 2 of 84 test images that show it; do not rely on it" for word in weak(terms)
        ]
        return models.SearchAnswer(
            understood=terms,
            conditions=[f"camera {' or '.join(asked.where.cameras)}"] if asked.where.cameras else [],
            notes=[note + self.suffix for note in notes],
            hits=hits,
            next_offset=end if end < len(scored) else None,
            num_images=sum(len(person.moments) for person in self.people),
            bundle=self.bundle,
        )

    def camera(self, name: str) -> models.CameraAnswer:
        runs = self.cameras[name]
        number = CAMERAS.index(name)
        lost = name == "yard" and runs
        return models.CameraAnswer(
            name=name + self.suffix,
            gallery="station",
            source=f"rtsp://***@10.0.0.{number + 5}/stream{self.suffix}",
            running=runs,
            condition="lost" if lost else "live" if runs else "stopped",
            age_seconds=self.age if lost else 0.2,
            received=18342 + number,
            dropped=12 * number,
            detected=9171,
            people=4711,
            tracks=312 + number,
            kept=604,
            given_up=0,
            reconnects=2 * number,
            lost_seconds=14.0 * number,
            notes=[f"no frame for 41 s{self.suffix}"] if lost else [],
        )

    def words(self) -> models.WordsAnswer:
        groups = []
        for name, kind, sensitive, words in self.groups:
            listed = [
                models.WordAnswer(
                    value=word if kind == "binary" else f"{name}={word}",
                    word=word + (self.suffix if (name, word) == ("lower-colour", "green") else ""),
                    allowed=(word if kind == "binary" else f"{name}={word}") not in self.forbidden,
                    recognised=WEAK.get(word, 0.81),
                    weak=word in WEAK,
                    synonyms=["rucksack"] if word == "backpack" else [],
                )
                for word in words
            ]
            allowed = "with reason" if sensitive else "yes"
            groups.append(
                models.WordGroupAnswer(name=name, kind=kind, sensitive=sensitive, allowed=allowed, words=listed)  # type: ignore[arg-type]
            )
        eyes = [
            models.WordAnswer(value="skin=dark", word="dark", allowed=False, recognised=None, weak=False, synonyms=[])
        ]
        skin = models.WordGroupAnswer(name="skin", kind="exclusive", sensitive=True, allowed="no", words=eyes)
        return models.WordsAnswer(groups=[*groups, skin])

    def gallery(self) -> models.GalleryAnswer:
        moments = [moment for person in self.people for moment in person.moments]
        return models.GalleryAnswer(
            name="station",
            images=len(moments),
            tracks=len(self.people),
            cameras=[name + self.suffix for name in CAMERAS],
            captured=(min(moments), max(moments)),
            bundle=self.bundle,
            swapping=None,
        )


VALUES = {
    (word if kind == "binary" else f"{name}={word}"): (name, word, sensitive)
    for name, kind, sensitive, words in GROUPS
    for word in words
}
SAYINGS = {"woman": "female", "man": "male", "red jacket": "upper-colour=red", "blue trousers": "lower-colour=blue"}


def understood_terms(description: str, suffix: str) -> list[models.TermAnswer]:
    """Words and a few sayings between commas and `with`, `!` before what must not be, `|` between alternatives."""
    answers = []
    for text in description.replace(" with a ", ",").replace(" in a ", ",").split(","):
        values = values_of(text)
        if unknown := [value for value in values if value not in VALUES]:
            detail = f"'{unknown[0]}' is no word that bundle edge knows; choose one of its attributes"
            raise RefusedError(400, detail + suffix, "description")
        group = VALUES[values[0]][0]
        words = " or ".join(VALUES[value][1] for value in values)
        said = f"{'not ' if '!' in text else ''}{group + ' ' if '=' in values[0] else ''}{words}"
        answers.append(
            models.TermAnswer(
                text=text.strip() + suffix,
                understood=said + suffix,
                sensitive=VALUES[values[0]][2],
                recognised={value: WEAK.get(VALUES[value][1], 0.81) for value in values},
            )
        )
    return answers


def weak(terms: list[models.TermAnswer]) -> list[str]:
    return [word for term in terms for word in WEAK if word in term.understood]


def evidence_of(person: Person, text: str, suffix: str) -> float:
    text = text.removesuffix(suffix)
    shares = [share(person, value) for value in values_of(text)]
    return 1 - max(shares) if text.startswith("!") else max(shares)


def values_of(text: str) -> list[str]:
    return [SAYINGS.get(value, value) for value in text.strip().lstrip("!").split("|")]


def lets_through(where: models.Where, person: Person, suffix: str) -> bool:
    newest = person.moments[0]
    return (
        (not where.cameras or person.camera + suffix in where.cameras)
        and (where.captured_from is None or newest >= where.captured_from)
        and (where.captured_until is None or newest < where.captured_until)
    )
