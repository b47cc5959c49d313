"""A process that adds, replaces and removes items with pictures for as long as its standard input is open.

`changes(seed)` gives what it does; run as a module, it does so and prints a line when it has begun.
"""

from __future__ import annotations

import hashlib
import random
import select
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store.crops import write_crop

DIM = 16
State = dict[str, str]
"""The content of the picture of each item, by its uri."""


def changes(seed: int) -> Iterator[tuple[State, list[str]]]:
    """What is added (or replaced), and the uris that are removed; one of the two is empty."""
    chance, there = random.Random(seed), list[str]()
    number = 0
    while True:
        if len(there) > 40 and chance.random() < 0.5:
            gone = chance.sample(there, chance.randint(1, 8))
            there = [uri for uri in there if uri not in gone]
            yield {}, gone
            continue
        added = {}
        for _ in range(chance.randint(1, 5)):
            number += 1
            uri = chance.choice(there) if there and chance.random() < 0.2 else f"crop:door/{number % 7}/{number}.jpg"
            added[uri] = f"picture {number}"
        there += [uri for uri in added if uri not in there]
        yield added, []


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def apply(gallery: Gallery, added: State, gone: list[str]) -> None:
    for uri, content in added.items():
        write_crop(gallery.path, uri, content.encode())
    if added:
        items = [GalleryItem(uri, content_hash=sha256(content), camera="door") for uri, content in added.items()]
        vectors = np.zeros((len(items), gallery.embedding_dim), np.float32)
        vectors[:, 0] = 1
        gallery.add(items, vectors)
    if gone:
        with suppress(SalError):  # a reader keeps the old bytes in the log: it is removed all the same
            gallery.remove(gone)


def main(path: str, seed: str) -> None:
    with Gallery.open(Path(path), "w") as gallery:
        for number, (added, gone) in enumerate(changes(int(seed))):
            apply(gallery, added, gone)
            if number == 50:
                print("writing", flush=True)
            if select.select([sys.stdin], [], [], 0)[0]:
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
