"""Ranking by codes against the plain ranking: the same rows, whatever the vectors are like.

The graph of the runtime is made here: `python -m tests.runtime.ranking.test_screened` writes the file anew.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

import sal_runtime
from sal_runtime.engines.onnx import open_session
from sal_runtime.errors import InputError
from sal_runtime.ranking import screened
from sal_runtime.ranking.core import Products
from sal_runtime.ranking.exact import top_k
from sal_runtime.ranking.screened import ScreenedRanking

GRAPH = Path(sal_runtime.__file__).parent / "ranking" / screened.GRAPH


def make_graph() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMulInteger", ["vectors", "queries", "zero_point"], ["products"], "products")]
    inputs = [
        helper.make_tensor_value_info("vectors", TensorProto.UINT8, ["n", "d"]),
        helper.make_tensor_value_info("queries", TensorProto.INT8, ["d", "Q"]),
    ]
    outputs = [helper.make_tensor_value_info("products", TensorProto.INT32, ["n", "Q"])]
    zero_point = helper.make_tensor("zero_point", TensorProto.UINT8, [], [128])
    graph = helper.make_graph(nodes, "screen", inputs, outputs, [zero_point])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="sal")


def test_the_file_is_the_graph_made_here() -> None:
    model = onnx.load(GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert model == make_graph()


def test_products_of_the_largest_codes_do_not_overflow() -> None:
    session = open_session(GRAPH.read_bytes(), device="cpu", threads=1)
    for code in (0, 1, 255):
        vectors = np.full((40, 512), code, np.uint8)
        for query in (-63, 63):
            queries = np.full((512, 9), query, np.int8)
            (found,) = session.run(None, {"vectors": vectors, "queries": queries})
            np.testing.assert_array_equal(found, (code - 128) * query * 512)


def check(gallery: NDArray[np.float32], parts: int, queries: NDArray[np.float32], k: int, allowed: object) -> None:
    """Scores agree within rounding, and every row has the score reported for it."""
    pieces = np.array_split(gallery, parts)
    rows, scores = ScreenedRanking(pieces).top_k(queries, k, allowed)  # type: ignore[arg-type]
    _, expected = top_k(queries, gallery, k, allowed)  # type: ignore[arg-type]
    assert rows.shape == expected.shape
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(scores, expected, atol=2e-6 * scale)
    np.testing.assert_allclose(np.einsum("qkd,qd->qk", gallery[rows], queries), scores, atol=2e-6 * scale)
    assert all(len(set(hits)) == len(hits) for hits in rows.tolist())
    if allowed is not None:
        assert np.asarray(allowed)[rows].all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1000, 20_000),
    dim=st.integers(1, 40),
    num=st.integers(1, 70),
    k=st.integers(1, 12),
    kind=st.sampled_from(["spread", "groups", "copies", "tiny", "one large", "zeros"]),
    share=st.sampled_from([None, 0.05, 0.4, 0.95]),
)
def test_nothing_is_missed(seed: int, size: int, dim: int, num: int, k: int, kind: str, share: float | None) -> None:
    rng = np.random.default_rng(seed)
    gallery = rng.standard_normal((size, dim), dtype=np.float32)
    queries = rng.standard_normal((num, dim), dtype=np.float32)
    if kind == "groups":
        gallery = 0.05 * gallery + gallery[rng.integers(0, 20, size)]
    elif kind == "copies":
        gallery = gallery[rng.integers(0, 15, size)]
    elif kind == "tiny":
        gallery *= np.float32(1e-20)
    elif kind == "one large":
        gallery[size // 2] *= 1000
        queries[0] = 0
    elif kind == "zeros":
        gallery[:] = 0
    allowed = None if share is None else rng.random(size) < share
    check(np.ascontiguousarray(gallery), 3, queries, k, allowed)


def test_equal_vectors_come_in_the_order_of_their_rows() -> None:
    rng = np.random.default_rng(0)
    people = rng.standard_normal((9000, 16), dtype=np.float32)
    gallery = np.tile(people / np.linalg.norm(people, axis=1, keepdims=True), (3, 1))
    rows, _ = ScreenedRanking(np.array_split(gallery, 4)).top_k(gallery[[5, 8000, 11]], 6)
    np.testing.assert_array_equal(rows[:, :3], [[5, 9005, 18005], [8000, 17000, 26000], [11, 9011, 18011]])


def test_most_is_not_multiplied_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((100_000, 64), dtype=np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    multiplied: list[int] = []
    multiply = Products.multiply

    def noted(self: Products, vectors: NDArray[np.float32], picked: Any) -> NDArray[np.float32]:
        multiplied.append(len(vectors))
        return multiply(self, vectors, picked)

    ranking = ScreenedRanking(np.array_split(gallery, 3))
    monkeypatch.setattr(Products, "multiply", noted)
    ranking.top_k(gallery[:64].copy(), 10)
    assert 0 < sum(multiplied) <= 0.3 * len(gallery)  # the first chunk of each thread, which sets the bar


def test_parts_that_are_known_are_not_coded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = np.random.default_rng(0).standard_normal((101_000, 64), dtype=np.float32)
    first = ScreenedRanking([gallery[:100_000]])
    monkeypatch.delattr(screened, "open_session")  # nor is another session opened
    tracemalloc.start()
    second = ScreenedRanking([gallery[:100_000], gallery[100_000:]], first)
    new_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 1000 * 64 < new_bytes < 0.1 * 100_000 * 64
    queries = gallery[100_500:100_540].copy()
    np.testing.assert_array_equal(second.top_k(queries, 5)[0], top_k(queries, gallery, 5)[0])


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(InputError, match="no part"):
        ScreenedRanking([])
    with pytest.raises(InputError, match="not finite"):
        ScreenedRanking([np.full((3, 4), np.nan, np.float32)])
    ranking = ScreenedRanking([np.ones((2000, 4), np.float32)])
    with pytest.raises(InputError, match="not finite"):
        ranking.top_k(np.full((1, 4), np.inf, np.float32), 3)
    with pytest.raises(InputError, match="expected float32"):
        ranking.top_k(np.ones((1, 5), np.float32), 3)
    assert ScreenedRanking([np.empty((0, 4), np.float32)]).top_k(np.ones((2, 4), np.float32), 3)[0].shape == (2, 0)


if __name__ == "__main__":
    GRAPH.write_bytes(make_graph().SerializeToString())
