"""Many questions to a gallery at once: they are answered one after another, those that are alike together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from sal_runtime.arrays import Float32Array
from sal_runtime.gallery.gallery import Gallery
from sal_service.galleries.answers import Page, Question, answer, answer_alike
from sal_service.galleries.remembered import RememberingSearch

MOST_TOGETHER = 16
"""Questions answered together; with more, the first of them waits longer for little."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A question, the embedding of its picture, and the page to come."""

    question: Question
    picture: Float32Array | None
    page: Future[Page]


class Answering:
    """Answers questions to a gallery in a thread of its own. Threads may share it.

    One answer is computed at a time, because most of it is Python's, which takes turns anyway. While that goes on,
    others wait; those that differ in nothing but their descriptions share a pass over the vectors.

    Args:
        search: of the gallery.
        gallery: open.
    """

    def __init__(self, search: RememberingSearch, gallery: Gallery) -> None:
        self._search, self._gallery = search, gallery
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "sal-answers")

    def ask(self, question: Question, picture: Float32Array | None = None) -> Page:
        """Answer a question; arguments and errors are those of `answer`."""
        waiting = _Waiting(question, picture, Future())
        with self._lock:  # _answer_next waits for it, too
            self._thread.submit(self._answer_next)
            self._waiting.append(waiting)
        return waiting.page.result()

    def close(self) -> None:
        """Answer what waits, and end the thread."""
        self._thread.shutdown()

    def _answer_next(self) -> None:
        """Answer the question that has waited longest, and those that are like it."""
        with self._lock:
            if not self._waiting:
                return  # it was answered together with another one
            first = self._waiting.popleft()
            alike = [other for other in self._waiting if first.question.is_alike(other.question)][: MOST_TOGETHER - 1]
            for other in alike:
                self._waiting.remove(other)
        if not alike or not self._answer_together([first, *alike]):
            for waiting in (first, *alike):
                self._answer(waiting)

    def _answer_together(self, alike: Sequence[_Waiting]) -> bool:
        """Answer alike questions; False if there was an error, which may be that of one of them."""
        try:
            pages = answer_alike(self._search, self._gallery, [waiting.question for waiting in alike])
        except Exception:
            return False
        for waiting, page in zip(alike, pages, strict=True):
            waiting.page.set_result(page)
        return True

    def _answer(self, waiting: _Waiting) -> None:
        try:
            page = answer(self._search, self._gallery, waiting.question, waiting.picture)
        except BaseException as error:
            waiting.page.set_exception(error)
        else:
            waiting.page.set_result(page)
