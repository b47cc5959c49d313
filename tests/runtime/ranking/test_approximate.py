"""The approximate index against exact ranking, and against files that are not what they should be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import BackendError, InputError, SalError
from sal_runtime.ranking.approximate import (
    MAGIC,
    ApproximateIndex,
    GalleryVersion,
    IndexPrecision,
    build_index,
    measure_recall,
    open_index,
)

VERSION = GalleryVersion("a" * 64, "state 1")
FIRST_ID = 1000
DIM = 32

REPOSITORY = Path(__file__).parents[3]


def clustered(seed: int, size: int) -> np.ndarray:
    """Unit vectors around 60 centres, as people who wear the same are."""
    centres = np.random.default_rng(0).standard_normal((60, DIM))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, len(centres), size)] + 0.6 * rng.standard_normal((size, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


GALLERY, QUERIES = clustered(1, 3000), clustered(2, 40)


def chunks(step: int = 700) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(GALLERY), step):
        vectors = GALLERY[start : start + step]
        yield np.arange(FIRST_ID + start, FIRST_ID + start + len(vectors)), vectors


def stored(ids: np.ndarray) -> np.ndarray:
    return GALLERY[ids - FIRST_ID]


def exact(k: int) -> np.ndarray:
    return FIRST_ID + np.argsort(-(QUERIES @ GALLERY.T), axis=1, kind="stable")[:, :k]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "yard.index"
    assert build_index(path, chunks(), VERSION) == len(GALLERY)
    return path


@pytest.fixture(scope="module")
def index(path: Path) -> ApproximateIndex:
    return open_index(path, VERSION)


@pytest.mark.parametrize(("precision", "least"), [("f16", 0.97), ("i8", 0.97)])
def test_recall_on_clustered_vectors(tmp_path: Path, precision: IndexPrecision, least: float) -> None:
    build_index(tmp_path / "index", chunks(), VERSION, precision)
    opened = open_index(tmp_path / "index", VERSION)
    assert measure_recall(opened, QUERIES, exact(10), stored) >= least


def test_scores_are_those_of_the_stored_vectors_best_first(index: ApproximateIndex) -> None:
    ids, scores = index.search(QUERIES, 5, stored)
    assert ids.shape == scores.shape == (len(QUERIES), 5)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", QUERIES, GALLERY[ids - FIRST_ID]), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    # an item is nearest to itself
    assert index.search(GALLERY[:9], 1, stored)[0][:, 0].tolist() == list(range(FIRST_ID, FIRST_ID + 9))


def test_recall_by_hand(index: ApproximateIndex) -> None:
    found, _ = index.search(QUERIES[:2], 2, stored)
    wrong = np.array([[found[0, 1], 1], [2, 3]])  # one of four
    assert measure_recall(index, QUERIES[:2], wrong, stored) == 0.25
    with pytest.raises(InputError, match="at least one query with one hit"):
        measure_recall(index, QUERIES[:0], wrong[:0], stored)


def test_equal_vectors_by_id_and_more_hits_than_items(tmp_path: Path) -> None:
    same = np.tile(GALLERY[:1], (5, 1))
    build_index(tmp_path / "index", [(np.array([7, 3, 9, 1, 5]), same)], VERSION)
    index = open_index(tmp_path / "index", VERSION)
    ids, _ = index.search(GALLERY[:1], 20, lambda wanted: same[: len(wanted)])
    assert ids.tolist() == [[1, 3, 5, 7, 9]]


def test_all_items_are_proposed_if_all_are_wanted(tmp_path: Path) -> None:
    """The graph does not lead to all of these, because equal vectors mostly link to each other."""
    vectors = np.concatenate([np.tile(GALLERY[:1], (300, 1)), GALLERY[1:101]])
    build_index(tmp_path / "index", [(np.arange(400), vectors)], VERSION)
    index = open_index(tmp_path / "index", VERSION)
    for queries in (QUERIES[:1], QUERIES[:3]):
        for count in (400, 1000):
            assert [np.sort(ids).tolist() for ids in index.propose(queries, count)] == [[*range(400)]] * len(queries)


def test_threads_take_turns(index: ApproximateIndex) -> None:
    expected, _ = index.search(QUERIES, 3, stored)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: index.search(QUERIES[number : number + 1], 3, stored)[0], range(40)))
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_a_foreign_or_stale_index_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="holds embeddings of bundle aaaaaaaaaaaa, expected bbbbbbbbbbbb; build it"):
        open_index(path, GalleryVersion("b" * 64, "state 1"))
    with pytest.raises(InputError, match="the gallery has changed since it was built; build it again"):
        open_index(path, GalleryVersion("a" * 64, "state 2"))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 1000, -1, -16, -40, -200])
def test_a_truncated_file_is_refused(path: Path, tmp_path: Path, size: int) -> None:
    (tmp_path / "short").write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"not an index of sal, or not whole .*; build it again"):
        open_index(tmp_path / "short", VERSION)


def test_a_file_that_only_ends_like_an_index_is_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for name, content in (("hole", whole[:500] + whole[600:]), ("magic", bytes(8) + MAGIC), ("long", whole + whole)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not an index of sal"):
            open_index(tmp_path / name, VERSION)
    with pytest.raises(InputError, match="there is no such file; build it"):
        open_index(tmp_path / "nowhere", VERSION)


def test_a_failed_build_leaves_the_old_index(path: Path) -> None:
    before = path.read_bytes()
    twice = (np.array([4, 5]), GALLERY[:2]), (np.array([5, 6]), GALLERY[:2])
    with pytest.raises(InputError, match=r"cannot index ids 5 to 6: .*give each id once"):
        build_index(path, twice, VERSION)
    with pytest.raises(InputError, match=r"vectors \(2, 16\) for 2 ids, expected \(2, 32\)"):
        build_index(path, [(np.array([4, 5]), GALLERY[:2]), (np.array([6, 7]), GALLERY[:2, :16])], VERSION)
    with pytest.raises(InputError, match="nothing to index"):
        build_index(path, [], VERSION)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with pytest.raises(SalError, match="cannot be written"):
        build_index(path.parent / "no" / "folder", chunks(), VERSION)


def test_what_does_not_fit_is_refused(index: ApproximateIndex) -> None:
    for queries, k in ((QUERIES[:, :16], 1), (QUERIES[0], 1), (QUERIES, 0)):
        with pytest.raises(InputError, match=r"expected \[Q, 32\] and at least 1"):
            index.search(queries, k, stored)
    assert index.search(QUERIES[:0], 3, stored)[0].shape[0] == 0


def test_without_usearch_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    for use in (lambda: open_index(path, VERSION), lambda: build_index(path, chunks(), VERSION)):
        with pytest.raises(
            BackendError, match=r'usearch is not installed; in the checkout of sal: `pip install "\.\[ann\]"`'
        ):
            use()


def test_an_index_can_be_opened_before_onnx_runtime_is_loaded() -> None:
    code = (
        "from sal_runtime.ranking import approximate; approximate._import_usearch(); import onnxruntime; print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n", done.returncode
