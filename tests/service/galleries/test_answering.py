"""Many questions at once: alike ones share a pass, and everyone gets the answer of the own question."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import InputError, SchemaError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.matching.result import SearchResult
from sal_runtime.matching.tracks import ask_by_track
from sal_runtime.query.language import Query
from sal_service.galleries import answering as module
from sal_service.galleries.answering import Answering
from sal_service.galleries.answers import Page, Question, answer
from sal_service.galleries.remembered import RememberingSearch
from tests.docs.examples.programs import wait_until
from tests.runtime.calibrated_bundle import make_calibrated_bundle

WORDS = ("hat", "!hat", "upper=red", "upper=blue", "hat,upper=red", "!hat,upper=blue")
PLAIN = [Question(text, by_track=by_track, limit=5) for by_track in (True, False) for text in WORDS]
OTHERS = [
    Question("hat", where=ItemFilter(cameras=["c1"])),
    Question("hat", limit=3, offset=3),
    Question("hat", min_likelihood=0.3),
    Question("hat", newest_first=True, min_likelihood=0.1),
    Question("hat", right=("image-1.jpg",), wrong=("image-2.jpg",)),
    Question(like=("image-3.jpg",)),
]


class CountingSearch(RememberingSearch):
    """Keeps the number of descriptions of each pass; the first pass waits until it may begin."""

    asked: list[int]
    may_begin: threading.Event

    def ask_many(
        self, descriptions: Sequence[str | Query], k: int = 20, *, where: ItemFilter | None = None
    ) -> list[SearchResult]:
        if where is None or not where.tracks:
            self.asked.append(len(descriptions))
            assert self.may_begin.wait(60)
        return super().ask_many(descriptions, k, where=where)


@pytest.fixture
def search(tmp_path: Path) -> Iterator[CountingSearch]:
    """Sixty images of twenty tracks of two cameras."""
    bundle = open_bundle(make_calibrated_bundle(tmp_path / "tiny.bundle"))
    vectors = np.random.default_rng(0).standard_normal((60, bundle.embedding_dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        GalleryItem(f"image-{n}.jpg", camera=f"c{n % 2}", captured_at=1.8e9 + n, track=f"t{n % 20}") for n in range(60)
    ]
    with Gallery.create(tmp_path / "yard.sal", bundle) as made:
        made.add(items, vectors)
    with Gallery.open(tmp_path / "yard.sal") as gallery:
        counting = CountingSearch(bundle, gallery)
        counting.asked, counting.may_begin = [], threading.Event()
        yield counting


def ask_at_once(search: CountingSearch, questions: Sequence[Question]) -> list[Future[Page]]:
    """Ask while the answering thread is busy with a first question, so that all of them wait."""
    assert isinstance(search.gallery, Gallery)
    answering = Answering(search, search.gallery)
    with ThreadPoolExecutor(len(questions) + 1) as pool:
        first = pool.submit(answering.ask, Question("upper=red|blue"))
        wait_until(lambda: bool(search.asked))
        futures = [pool.submit(answering.ask, question) for question in questions]
        wait_until(lambda: len(answering._waiting) == sum(not future.done() for future in futures))
        search.may_begin.set()
        first.result(60)
        answering.close()
    return futures


def test_everyone_gets_the_answer_of_the_own_question(search: CountingSearch) -> None:
    questions = [*PLAIN, *OTHERS, *PLAIN[:3]]
    found = [future.result(60) for future in ask_at_once(search, questions)]
    assert isinstance(search.gallery, Gallery)
    alone = RememberingSearch(search.bundle, search.gallery)
    assert found == [answer(alone, search.gallery, question) for question in questions]
    for question, page in zip(PLAIN[: len(WORDS)], found, strict=False):
        assert page.result.hits == ask_by_track(alone, question.description or "", 6).hits[:5]


def test_alike_questions_share_a_pass(search: CountingSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOGETHER", 4)
    for future in ask_at_once(search, PLAIN):
        future.result(60)
    assert sorted(search.asked) == [1, 2, 2, 4, 4]  # the first question, and six by track and six by image


@pytest.mark.parametrize("question", OTHERS)
def test_others_are_asked_alone(question: Question) -> None:
    assert not question.is_alike(Question("upper=red"))
    assert not Question("upper=red").is_alike(question)


def test_marks_and_the_order_of_time_belong_to_one_question() -> None:
    for question in OTHERS[3:]:
        assert not question.is_alike(question)


def test_an_error_is_that_of_one_question(search: CountingSearch) -> None:
    wrong = [Question("zeppelin"), Question(like=("nobody.jpg",)), Question("hat,!hat")]
    futures = ask_at_once(search, [*PLAIN[:3], *wrong])
    for future in futures[:3]:
        assert future.result(60).result.hits
    for future, kind in zip(futures[3:], (SchemaError, InputError, SchemaError), strict=True):
        with pytest.raises(kind):
            future.result(60)
