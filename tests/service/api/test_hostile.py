"""More than a thousand hostile inputs over real sockets: none gets through, none takes the service down.

`python -m tests.service.api.test_hostile` prints how many there are of each kind.
"""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from sal_service.api.gate.http_protocol import DeadlineProtocol
from sal_service.api.gate.limits import LANES
from tests.service.api import hostile_contents, hostile_http
from tests.service.api.hostile import Hostile, Target, complaint
from tests.service.api.small_app import EXPIRED, TOKENS, make_app, serving

KINDS = (*hostile_http.KINDS, *hostile_contents.KINDS)
NOWHERE = Target(("127.0.0.1", 0), TOKENS, EXPIRED, "door", b"never seen")


class Quick(DeadlineProtocol):
    head_seconds = 1.0
    request_seconds = 2.0
    write_seconds = 1.0
    linger_seconds = 1.0


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The service that is attacked: here the small one; anything that gives a `Target` can take its place."""
    lanes = tuple(replace(lane, times=1_000_000) for lane in LANES)
    with serving(make_app(lanes=lanes), http=Quick, timeout_keep_alive=2) as address:
        yield replace(NOWHERE, address=address)


def attack(target: Target, kind: Callable[[Target], Iterator[Hostile]]) -> None:
    """Send all inputs of a kind; none may get through, and the service must live on."""
    with ThreadPoolExecutor(32 if kind is hostile_http.drips else 4) as pool:
        inputs = list(kind(target))
        told = pool.map(lambda hostile: complaint(target, hostile), inputs)
        wrong = [f"{hostile.kind}, {hostile.name}: {text}" for hostile, text in zip(inputs, told, strict=True) if text]
    assert not wrong, f"{len(wrong)} of {len(inputs)}:\n" + "\n".join(wrong[:20])
    with urllib.request.urlopen(f"http://127.0.0.1:{target.address[1]}/healthz", timeout=5) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_gets_through(target: Target, kind: Callable[[Target], Iterator[Hostile]]) -> None:
    attack(target, kind)


def counts() -> Counter[str]:
    """How many different inputs there are of each kind."""
    different = {(hostile.kind, hostile.send + hostile.drip) for make in KINDS for hostile in make(NOWHERE)}
    return Counter(kind for kind, _ in different)


def test_there_are_a_thousand_of_them() -> None:
    found = counts()
    assert found.total() >= 1000
    assert len(found) >= 20
    assert min(found.values()) >= 4


if __name__ == "__main__":
    for name, number in sorted(counts().items()):
        print(f"{name:32} {number:5}")
    print(f"{'all':32} {counts().total():5}")
