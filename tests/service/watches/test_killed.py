"""A service that is killed at random moments fires once for each track, and delivers everything."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sal_runtime.bundle.bundle import Bundle
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.matching.person_search import PersonSearch
from sal_service.watches.board import WatchBoard
from sal_service.watches.deliver import Deliverer, DeliverySettings
from sal_service.watches.store import WatchStore
from sal_service.watches.watch import Message, WebhookTarget
from tests.docs.examples.programs import environment, wait_until
from tests.runtime.made_up_items import unit_vectors
from tests.service.watches.receiver import accept, answer_with, outbox, receiver
from tests.service.watches.watched import LONG, NOON, SECRET, keep, watch_for
from tests.torture.clean_process import CLEAN

KILLS = [pytest.param(4, id="4"), pytest.param(20, id="20", marks=pytest.mark.slow)]
VECTORS = unit_vectors(5000, seed=21)


def live(folder: Path, bundle: Bundle, seed: int, parent: Connection) -> None:
    """Keep images and evaluate them until the end; a fifth is left to be caught up with, and tracks end soon."""
    chance = random.Random(seed)
    told = os.open(folder / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(message: Message) -> None:
        os.write(told, f"{message.id}\n".encode())

    gallery = Gallery.open(folder / "yard.sal", "w")
    board = WatchBoard(WatchStore(folder / "watches.db"), tell, quiet_seconds=0.0)
    board.register_gallery("yard", bundle, gallery)
    board.catch_up("yard")
    for number in count(len(gallery)):
        track = str(number // 3) if number % 30 < 24 else None
        kept = keep(gallery, number, VECTORS[number], track=track)
        parent.send("kept")
        if chance.random() < 0.8:
            board.see("yard", kept)
            parent.send("seen")
        if chance.random() < 0.2:
            board.tick(time.time())
            parent.send("ticked")


@pytest.mark.parametrize("kills", KILLS)
def test_every_track_that_fits_fired_once(kills: int, tmp_path: Path, bundle: Bundle) -> None:
    asked = {"hat": 0.5, "!hat,male": 0.3}
    watches = [watch_for(*pair, expires_at=4e9, created_at=4e9 - 99) for pair in asked.items()]
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery, WatchStore(tmp_path / "watches.db") as store:
        board = WatchBoard(store, print, clock=lambda: NOON)
        board.register_gallery("yard", bundle, gallery)
        for watch in watches:
            board.add(watch)
    chance = random.Random(kills)
    for seed in range(kills):
        here, there = CLEAN.Pipe(duplex=False)
        child = CLEAN.Process(target=live, args=(tmp_path, bundle, seed, there))
        child.start()
        there.close()
        for _ in range(chance.randrange(1, 60)):
            assert here.poll(LONG)
            here.recv()
        child.kill()
        child.join()
    with Gallery.open(tmp_path / "yard.sal", "w") as gallery, WatchStore(tmp_path / "watches.db") as store:
        assert gallery.verify() == []
        told = (tmp_path / "told").read_text().split()
        board = WatchBoard(store, lambda message: told.append(message.id), clock=lambda: NOON)
        board.register_gallery("yard", bundle, gallery)
        board.catch_up("yard")
        for watch in watches:
            result = PersonSearch(bundle, gallery).ask(watch.description, len(gallery)).by_track()
            expected = sorted(h.item.track or h.uri for h in result if (h.likelihood or 0) >= watch.min_likelihood)
            messages = store.messages(watch.id, limit=100_000)
            fired = sorted(m.track or m.uri for m in messages if m.type == "new")
            assert fired == expected
            assert len(fired) > kills
            assert {message.id for message in messages} <= set(told)


DELIVER = """
import sys
from pathlib import Path
from sal_service.watches.deliver import Deliverer, DeliverySettings
from sal_service.watches.store import WatchStore
store, host, secret = WatchStore(Path(sys.argv[1])), sys.argv[2], sys.argv[3].encode()
settings = DeliverySettings(webhooks=(host,), first_wait=0.01, longest_wait=0.05, give_up_after=1e12)
Deliverer(store, settings, secret, lambda gallery, uri: True)._thread.join()
"""


@pytest.mark.slow
def test_everything_is_delivered_by_a_service_that_is_killed(tmp_path: Path) -> None:
    """A fifth of the requests is refused; the same message is the same bytes however often it comes."""
    chance = random.Random(0)
    accepted: list[bytes] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if chance.random() < 0.2:
            answer_with(500)(handler)
        else:
            accepted.append(found.received[-1][2])
            accept(handler)

    with receiver(answer) as found:
        with WatchStore(tmp_path / "watches.db") as store:
            messages = outbox(store, 400, WebhookTarget(found.url))
        for _ in range(8):
            already = len(found.received) + chance.randrange(1, 50)
            command = [sys.executable, "-c", DELIVER, tmp_path / "watches.db", found.host, SECRET]
            child = subprocess.Popen(command, env=environment())
            try:
                wait_until(lambda wanted=already: len(found.received) >= wanted)
            finally:
                child.kill()
                child.wait()
        settings = DeliverySettings(webhooks=(found.host,), first_wait=0.01, give_up_after=1e12)
        with (
            WatchStore(tmp_path / "watches.db") as store,
            Deliverer(store, settings, SECRET, lambda gallery, uri: True),
        ):
            wait_until(lambda: store.counts().delivered == 400)
    bodies: dict[str, set[bytes]] = {}
    for body in accepted:
        bodies.setdefault(json.loads(body)["id"], set()).add(body)
    assert bodies == {message.id: {message.body()} for message in messages}
    assert len(accepted) < 400 + 2 * 8
