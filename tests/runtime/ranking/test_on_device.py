"""Ranking by a graph of ONNX Runtime against the ranking of numpy, on the CPU and, where there is one, on a GPU.

The graph of the runtime is made here: `python -m tests.runtime.ranking.test_on_device` writes the file anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import sal_runtime
from sal_runtime.doctor.machine import find_gpus
from sal_runtime.engines.installed import installed_version
from sal_runtime.errors import BackendError, InputError
from sal_runtime.ranking import on_device
from sal_runtime.ranking.exact import top_k
from sal_runtime.ranking.on_device import DeviceRanking
from tests.runtime.ranking.test_exact import eighths

GRAPH = Path(sal_runtime.__file__).parent / "ranking" / on_device.GRAPH


def make_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["queries", "vectors"], ["products"], "products", transB=1),
        helper.make_node("Where", ["allowed", "products", "never"], ["competing"], "competing"),
        helper.make_node("TopK", ["competing", "k"], ["scores", "rows"], "best", axis=1, largest=1, sorted=1),
    ]
    inputs = [
        helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["Q", "d"]),
        helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", "d"]),
        helper.make_tensor_value_info("allowed", TensorProto.BOOL, ["n"]),
        helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["Q", "kept"]),
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["Q", "kept"]),
    ]
    never = helper.make_tensor("never", TensorProto.FLOAT, [], [-np.inf])
    graph = helper.make_graph(nodes, "top_k", inputs, outputs, [never])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="sal")


def test_the_file_is_the_graph_made_here() -> None:
    model = onnx.load(GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert model == make_graph()


@settings(max_examples=60, deadline=None)
@given(
    num=st.integers(1, 5),
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=4),
    k=st.integers(1, 150),
    share=st.sampled_from([None, 0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 10_000),
)
@example(num=2, sizes=[30, 30], k=60, share=0.5, seed=1)  # a part has fewer competing rows than k
def test_as_on_the_cpu_with_ties_by_row(num: int, sizes: list[int], k: int, share: float | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, parts = eighths(rng, 2, (num, 3)), [eighths(rng, 2, (size, 3)) for size in sizes]
    allowed = None if share is None else rng.random(sum(sizes)) < share
    rows, scores = DeviceRanking(parts, "cpu").top_k(queries, k, allowed)
    expected_rows, expected_scores = top_k(queries, parts, k, allowed)
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


def test_more_queries_than_one_run_takes_and_arrays_that_are_not_contiguous() -> None:
    rng = np.random.default_rng(0)
    queries, gallery = eighths(rng, 9, (4, 7)).T, np.asfortranarray(eighths(rng, 9, (90, 4)))[::2]
    allowed = np.repeat(rng.random(45) < 0.5, 2)[::2]
    rows, _ = DeviceRanking([gallery], "cpu", query_block=3).top_k(queries, 6, allowed)
    np.testing.assert_array_equal(rows, top_k(queries, gallery, 6, allowed)[0])


def test_the_gallery_outlives_the_arrays_it_came_from() -> None:
    rng = np.random.default_rng(0)
    queries = eighths(rng, 9, (2, 4))
    parts = [eighths(rng, 9, (2000, 4)) for _ in range(20)]
    expected, _ = top_k(queries, parts, 5)
    ranking = DeviceRanking(parts, "cpu")
    del parts
    _ = [np.zeros((2000, 4), np.float32) for _ in range(20)]  # where they were
    np.testing.assert_array_equal(ranking.top_k(queries, 5)[0], expected)


def test_what_does_not_fit_is_refused() -> None:
    part = np.ones((5, 3), np.float32)
    with pytest.raises(InputError, match="no part of a gallery"):
        DeviceRanking([], "cpu")
    with pytest.raises(InputError, match="expected float32"):
        DeviceRanking([part, np.ones((5, 4), np.float32)], "cpu")
    ranking = DeviceRanking([part], "cpu")
    assert len(ranking) == 5
    with pytest.raises(InputError, match=r"queries float32 \(2, 4\)"):
        ranking.top_k(np.ones((2, 4), np.float32), 1)
    with pytest.raises(InputError, match="k is 0"):
        ranking.top_k(part, 0)
    with pytest.raises(InputError, match=r"allowed bool \(4,\)"):
        ranking.top_k(part, 1, np.ones(4, bool))


def test_no_other_device_in_its_place() -> None:
    with pytest.raises(BackendError, match="device is 'trt', expected one of cpu, cuda"):
        DeviceRanking([np.ones((5, 3), np.float32)], "trt")
    if installed_version("onnxruntime-gpu") is None:
        with pytest.raises(BackendError, match=r"device cuda: this ONNX Runtime .* has no CUDAExecutionProvider"):
            DeviceRanking([np.ones((5, 3), np.float32)], "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("share", [None, 0.02, 0.5])
def test_on_cuda_as_on_the_cpu(share: float | None) -> None:
    if installed_version("onnxruntime-gpu") is None or not find_gpus()[0]:
        pytest.skip("needs onnxruntime-gpu and an NVIDIA GPU; the same graph is compared on the CPU above")
    rng = np.random.default_rng(0)
    queries, parts = eighths(rng, 4, (65, 20)), [eighths(rng, 4, (size, 20)) for size in (32_768, 32_768, 1000)]
    allowed = None if share is None else rng.random(sum(map(len, parts))) < share
    ranking = DeviceRanking(parts, "cuda")
    for k in (1, 10, 1500):
        rows, scores = ranking.top_k(queries, k, allowed)
        expected_rows, expected_scores = top_k(queries, parts, k, allowed)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(scores, expected_scores)


if __name__ == "__main__":
    GRAPH.write_bytes(make_graph().SerializeToString(deterministic=True))
