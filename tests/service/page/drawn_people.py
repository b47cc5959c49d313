"""People who were never there: what they wear, where and when they were seen, and drawn pictures of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import cv2
import numpy as np

CAMERAS = ("door", "platform-2", "yard")
COLOURS = {  # BGR
    "black": (40, 36, 34),
    "blue": (178, 94, 38),
    "green": (84, 138, 52),
    "grey": (136, 134, 130),
    "red": (46, 40, 190),
    "white": (232, 234, 236),
    "yellow": (40, 196, 232),
}
WIDTH, HEIGHT = 96, 192


@dataclass(frozen=True)
class Person:
    """One track of one person: the words that are true of them, and when each of its images was taken."""

    number: int
    words: frozenset[str]
    camera: str
    moments: tuple[datetime, ...]

    def colour_of(self, group: str) -> str:
        return next(word for word in COLOURS if f"{group}={word}" in self.words)


def people(many: int, until: datetime) -> list[Person]:
    """`many` people, the newest at `until`, about three minutes apart; the same ones at each call."""
    random = np.random.default_rng(3)
    found = []
    for number in range(many):
        upper, lower = (str(random.choice(list(COLOURS))) for _ in range(2))
        worn = {word for word in ("backpack", "hat", "luggage") if random.random() < 0.4}
        words = {f"upper-colour={upper}", f"lower-colour={lower}", *worn}
        words |= {f"no-{word}" for word in {"backpack", "hat", "luggage"} - worn}
        words.add(str(random.choice(["male", "female"])))
        words.add(str(random.choice(["age=16-30", "age=31-45", "age=over-60"])))
        last = until - timedelta(seconds=float(number * 170 + random.integers(0, 120)))
        moments = tuple(last - timedelta(seconds=2.5 * step) for step in range(int(random.integers(1, 7))))
        found.append(Person(number, frozenset(words), CAMERAS[int(random.integers(0, 3))], moments))
    return found


@cache
def draw(person: Person, image: int) -> bytes:
    """The JPEG of one of their images: the same clothes, another step."""
    random = np.random.default_rng(1000 * person.number + image)
    ground = np.linspace(150, 96, HEIGHT)[:, None, None] + random.normal(0, 5, (HEIGHT, WIDTH, 3))
    picture = np.clip(ground + random.integers(-18, 18, 3), 0, 255).astype(np.uint8)
    upper, lower = (COLOURS[person.colour_of(group)] for group in ("upper-colour", "lower-colour"))
    middle, step = WIDTH // 2 + int(random.integers(-5, 6)), int(random.integers(4, 13))
    cv2.ellipse(picture, (middle, 182), (26, 5), 0, 0, 360, (62, 62, 62), -1)
    for side in (-1, 1):
        cv2.line(picture, (middle + 4 * side, 102), (middle + step * side, 174), lower, 15)
        cv2.line(picture, (middle + step * side, 176), (middle + step * side + 5, 178), (30, 30, 30), 9)
        cv2.line(picture, (middle + 15 * side, 58), (middle + 19 * side, 98 + 2 * side), upper, 10)
    cv2.rectangle(picture, (middle - 15, 52), (middle + 15, 106), upper, -1)
    cv2.circle(picture, (middle, 36), 12, (150, 172, 196), -1)
    if "backpack" in person.words:
        cv2.rectangle(picture, (middle + 8, 56), (middle + 22, 88), (36, 70, 92), -1)
    if "hat" in person.words:
        cv2.ellipse(picture, (middle, 30), (14, 10), 0, 180, 360, (58, 44, 40), -1)
    else:
        cv2.ellipse(picture, (middle, 32), (12, 11), 0, 180, 360, (44, 52, 66), -1)
    if "luggage" in person.words:
        cv2.rectangle(picture, (middle - 36, 128), (middle - 20, 172), (92, 52, 40), -1)
    picture = cv2.GaussianBlur(picture, (5, 5), 0)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1])


def share(person: Person, word: str) -> float:
    """How likely a word seems to hold of them: high where it does, another number for each, always the same."""
    jitter = float(np.random.default_rng(abs(hash_of(f"{person.number} {word}"))).random())
    return 0.72 + 0.27 * jitter if word in person.words else 0.02 + 0.3 * jitter


def hash_of(text: str) -> int:
    """A number that is the same in each process, unlike `hash`."""
    return int.from_bytes(text.encode()[:48], "little") % (2**31)


START = datetime(2026, 11, 28, 14, 30, tzinfo=UTC)
