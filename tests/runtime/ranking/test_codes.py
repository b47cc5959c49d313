"""Codes of vectors against the vectors: what they leave out is bounded, and products of codes bound products.

The graph of the runtime is made here: `python -m tests.runtime.ranking.test_codes` writes the file anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

import sal_runtime
from sal_runtime.ranking import codes
from sal_runtime.ranking.codes import CodedForms, CodedPart

GRAPH = Path(sal_runtime.__file__).parent / "ranking" / codes.GRAPH


def make_graph() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMulInteger", ["forms", "codes", "zero_point"], ["products"], "products")]
    inputs = [
        helper.make_tensor_value_info("forms", TensorProto.UINT8, ["M", "d"]),
        helper.make_tensor_value_info("zero_point", TensorProto.UINT8, []),
        helper.make_tensor_value_info("codes", TensorProto.INT8, ["d", "n"]),
    ]
    outputs = [helper.make_tensor_value_info("products", TensorProto.INT32, ["M", "n"])]
    graph = helper.make_graph(nodes, "codes", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="sal")


def test_the_file_is_the_graph_made_here() -> None:
    model = onnx.load(GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert model == make_graph()


def drawn_vectors(kind: str, count: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors float32 `[count, dim]`."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    if kind == "one large":
        vectors *= 1e-3
        vectors[:, 0] = 1
    elif kind == "axes":
        vectors = np.eye(dim)[np.arange(count) % dim]
    elif kind == "equal numbers":
        vectors = np.ones((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


kinds = st.sampled_from(["spread", "one large", "axes", "equal numbers"])


@given(kind=kinds, count=st.integers(0, 30), dim=st.integers(1, 300), seed=st.integers(0, 999))
def test_what_codes_leave_out_is_known(kind: str, count: int, dim: int, seed: int) -> None:
    vectors = drawn_vectors(kind, count, dim, seed)
    records = codes.encode(vectors)
    assert records.shape == (count, dim + 4)
    assert records.dtype == np.int8
    coded, errors = codes.decode(records)
    left_out = np.linalg.norm(vectors.astype(np.float64) - coded, axis=1)
    assert (left_out <= errors).all()
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    assert (errors <= 1.01 * np.sqrt(dim) * largest / 254 + 1e-6).all()  # at most half a unit for each number
    assert codes.fit(records, vectors).all()


def test_a_damaged_record_does_not_fit() -> None:
    vectors = drawn_vectors("spread", 20, 64, 0)
    records = codes.encode(vectors)
    records[3, 7] += 1 if records[3, 7] < 0 else -1
    records[5, -3:] = 0  # scale and error
    np.testing.assert_array_equal(np.flatnonzero(~codes.fit(records, vectors)), [3, 5])


@given(
    kind=kinds,
    count=st.integers(1, 40),
    room=st.integers(0, 20),
    dim=st.integers(1, 300),
    num=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_no_product_is_above_what_its_codes_allow(
    kind: str, count: int, room: int, dim: int, num: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = drawn_vectors(kind, count, dim, seed)
    forms = (random.standard_normal((num, dim)) * random.choice([1e-3, 1, 50])).astype(np.float32)
    turned = np.full((dim + 4, count + room), -1, np.int8)
    turned[:, :count] = codes.encode(vectors).T
    part = CodedPart.of(turned, count)
    coded = CodedForms.of(forms)
    products = coded.multiply(part, coded.room([part]))
    expected = (coded.codes.astype(int) - codes.SHIFT) @ turned[:-4].astype(int)
    np.testing.assert_array_equal(products, expected)
    np.testing.assert_array_equal(part.records(np.array([0, count - 1])), turned.T[[0, count - 1]])
    exact = forms.astype(np.float64) @ vectors.T.astype(np.float64)  # [num, count]
    for column in range(count):
        limits = coded.limits(part, exact[:, column])
        assert (products[:, column] > limits).all()


@pytest.mark.parametrize("forms", [1, 9])
def test_products_of_the_largest_codes_do_not_overflow(forms: int) -> None:
    for code in (-127, 127):
        part = CodedPart.of(np.full((516, 40), code, np.int8), 0)
        for sign in (-1, 1):
            coded = CodedForms.of(np.full((forms, 512), sign, np.float32))
            products = coded.multiply(part, coded.room([part]))
            np.testing.assert_array_equal(products, np.full((forms, 40), 63 * sign * code * 512))


if __name__ == "__main__":
    GRAPH.write_bytes(make_graph().SerializeToString())
