"""Ranges of quantised activations against brute force over the values themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from sal_export.precisions.activation_ranges import narrow_ranges

RNG = np.random.default_rng(0)


def model_of(nodes: list[onnx.NodeProto], output: str, constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "ranges",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B", "C"])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def quantiser(name: str, lowest: float, highest: float, kind: type) -> tuple[list[onnx.NodeProto], list]:
    """Quantise and dequantise `name` to `name_rounded` over a range."""
    limits = np.iinfo(kind)
    scale = highest / limits.max if kind is np.int8 else (highest - lowest) / 255
    zero = 0 if kind is np.int8 else round(-lowest / scale)
    constants = [
        numpy_helper.from_array(np.array(scale, np.float32), f"{name}_scale"),
        numpy_helper.from_array(np.array(zero, kind), f"{name}_zero"),
    ]
    parts = [f"{name}_scale", f"{name}_zero"]
    nodes = [
        helper.make_node("QuantizeLinear", [name, *parts], [f"{name}_steps"]),
        helper.make_node("DequantizeLinear", [f"{name}_steps", *parts], [f"{name}_rounded"]),
    ]
    return nodes, constants


def parameters(model: onnx.ModelProto, name: str) -> tuple[float, int]:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return constants[f"{name}_scale"].item(), constants[f"{name}_zero"].item()


def run(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": inputs})[0])


def doubled() -> list[onnx.NodeProto]:
    return [helper.make_node("Add", ["x", "x"], ["y"])]


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_no_other_range_has_a_smaller_squared_error(kind: type) -> None:
    """Values with tails, longer above than below."""
    inputs = RNG.laplace(size=(20_000, 2)).astype(np.float32)
    inputs[inputs < 0] *= 0.3
    values = 2 * inputs
    nodes, constants = quantiser("y", 2.5 * float(values.min()), 2.5 * float(values.max()), kind)
    quantised = model_of([*doubled(), *nodes], "y_rounded", constants)
    before = np.square(run(quantised, inputs) - values).mean()
    narrow_ranges(model_of(doubled(), "y", []), quantised, [inputs[:7_000], inputs[7_000:]])
    after = np.square(run(quantised, inputs) - values).mean()
    assert after < 0.5 * before
    scale, zero = parameters(quantised, "y")
    assert kind is np.uint8 or zero == 0
    limits = np.iinfo(kind)
    for factor in np.linspace(0.4, 3.0, 53):
        for other in [0] if kind is np.int8 else range(0, 200, 10):
            step = factor * scale
            rounded = (np.clip(np.rint(values / step) + other, limits.min, limits.max) - other) * step
            assert np.square(rounded - values).mean() > 0.95 * after, (factor, other)


def test_values_without_tails_keep_the_whole_range() -> None:
    inputs = RNG.uniform(-1.0, 1.0, (20_000, 2)).astype(np.float32)
    nodes, constants = quantiser("y", -2.0, 2.0, np.uint8)
    quantised = model_of([*doubled(), *nodes], "y_rounded", constants)
    before = parameters(quantised, "y")
    narrow_ranges(model_of(doubled(), "y", []), quantised, [inputs])
    assert parameters(quantised, "y") == pytest.approx(before)


def test_what_relu_takes_away_needs_no_range() -> None:
    """One addend falls to -100 where the other cannot lift the sum above zero."""

    def summed(ends: list[str]) -> list[onnx.NodeProto]:
        return [helper.make_node("Add", ends, ["sum"]), helper.make_node("Relu", ["sum"], ["y"])]

    first, second = (
        helper.make_node("Gemm", ["x", f"w{place}"], [name]) for place, name in enumerate(("first", "second"))
    )
    weights = [
        numpy_helper.from_array(np.array(column, np.float32).reshape(2, 1), f"w{place}")
        for place, column in enumerate(((1, 0), (0, 1)))
    ]
    inputs = np.stack([RNG.uniform(-100.0, 10.0, 20_000), RNG.uniform(0.0, 10.0, 20_000)], axis=1).astype(np.float32)
    exact = model_of([first, second, *summed(["first", "second"])], "y", weights)
    nodes, constants = quantiser("first", -100.0, 10.0, np.uint8)
    quantised = model_of([first, second, *nodes, *summed(["first_rounded", "second"])], "y", [*weights, *constants])
    expected = run(exact, inputs)
    before = np.abs(run(quantised, inputs) - expected).max()
    narrow_ranges(exact, quantised, [inputs])
    scale, zero = parameters(quantised, "first")
    assert scale * (255 - zero) == pytest.approx(10.0, abs=scale)
    assert -21.0 < -scale * zero < -10.0 + scale  # the smallest share of -100 that is tried is a fifth
    assert np.abs(run(quantised, inputs) - expected).max() < 0.4 * before
