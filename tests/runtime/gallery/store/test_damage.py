"""Damaged gallery files: an answer is right, or `verify` says that it may not be, or there is one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from tests.runtime.gallery.test_gallery import fake_bundle, unit_vectors
from tests.runtime.gallery_contents import stored_vectors, uris

ITEMS = 3000
PLACES = 300
PAGE = 16384


def build(path: Path) -> bytes:
    """A gallery of some thousand items; returns its bytes."""
    vectors = unit_vectors(ITEMS)
    items = [
        GalleryItem(
            f"{n:05}.jpg", "ab" * 32, n, n, f"c{n % 3}", float(n), f"t{n % 50}", (1, 2, 3, 4), {"n": str(n % 9)}
        )
        for n in range(ITEMS)
    ]
    with Gallery.create(path, fake_bundle()) as gallery:
        gallery.add(items, vectors)
    return path.read_bytes()


def answers(path: Path) -> tuple[list[str], list[object]]:
    """What `verify` says, and all that a search says; an error is an answer."""
    said: list[object] = []

    def note(work: Callable[[], object]) -> None:
        try:
            said.append(work())
        except SalError as error:
            said.append(error)

    problems: list[str] = []
    try:
        with Gallery.open(path) as gallery:
            query = unit_vectors(1, seed=7)
            note(lambda: [(uris(found), found.scores.tolist()) for found in gallery.nearest(query, 20)])
            where = ItemFilter(cameras=["c1"], captured_until=2000.0, metadata={"n": ["3", "4"]})
            note(lambda: [(uris(found), found.scores.tolist()) for found in gallery.nearest(query, 20, where)])
            note(lambda: [array.tobytes() for array in stored_vectors(gallery)])
            note(gallery.all_items)
            note(lambda: gallery.items(range(1, ITEMS + 1, 7)))
            note(lambda: [gallery.find(["00007.jpg"]), len(gallery)])
            problems = gallery.verify()
        with Gallery.open(path, vector_memory=0) as gallery:  # by codes
            note(lambda: [(uris(found), found.scores.tolist()) for found in gallery.nearest(query, 20)])
    except SalError as error:
        said.append(error)
    assert not any("\n" in str(one) for one in said if isinstance(one, SalError))
    return problems, said


def damage(data: bytearray, random: np.random.Generator, kind: str) -> None:
    place = int(random.integers(len(data)))
    page = place // PAGE * PAGE
    if kind == "bit":
        data[place] ^= 1 << int(random.integers(8))
    elif kind == "bytes":
        data[place : place + 8] = random.bytes(len(data[place : place + 8]))
    elif kind == "page":
        data[page : page + PAGE] = random.bytes(PAGE)
    elif kind == "zeros":
        data[page : page + PAGE] = bytes(PAGE)
    elif kind == "other page":
        other = int(random.integers(len(data) // PAGE)) * PAGE
        data[page : page + PAGE] = data[other : other + PAGE]
    else:
        del data[place:]


@pytest.mark.slow
def test_damage_anywhere_is_never_a_wrong_answer_unnoticed(tmp_path: Path) -> None:
    whole = build(tmp_path / "g.sal")
    _, right = answers(tmp_path / "g.sal")
    kinds = ("bit", "bytes", "page", "zeros", "other page", "truncated")
    noticed = 0
    for number in range(PLACES):
        random = np.random.default_rng(number)
        data = bytearray(whole)
        damage(data, random, kinds[number % len(kinds)])
        path = tmp_path / "damaged.sal"
        path.write_bytes(bytes(data))
        problems, said = answers(path)
        errors = [one for one in said if isinstance(one, SalError)]
        if not problems and not errors:
            assert said == right, f"place {number}: {kinds[number % len(kinds)]}"
        noticed += bool(problems or errors)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert noticed > PLACES / 2


def test_a_lost_block_is_one_line_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    build(path)
    with Gallery.open(path, "w") as gallery, gallery._writing() as connection:
        connection.execute("DELETE FROM block WHERE id = ?", (1 << 20 | 1,))
    problems, said = answers(path)
    assert problems == ["damaged file: block 1 of column 1 cannot be read (no such rowid: 1048577)"]
    assert sum(isinstance(one, SalError) for one in said) == 4


def test_a_lost_note_of_a_block_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    build(path)
    with Gallery.open(path, "w") as gallery, gallery._writing() as connection:
        connection.execute("DELETE FROM block_change WHERE id = ?", (1 << 20 | 1,))
    problems, said = answers(path)
    assert problems
    assert any(isinstance(one, SalError) for one in said)
