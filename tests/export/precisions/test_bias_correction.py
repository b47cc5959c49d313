"""Biases of quantised convolutions: the means of their outputs are those of the exact ones."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from sal_export.precisions.bias_correction import correct_biases

RNG = np.random.default_rng(0)
FIRST = RNG.standard_normal((4, 3, 1, 1)).astype(np.float32)
SECOND = RNG.standard_normal((6, 2, 1, 1)).astype(np.float32)  # two groups
BIASES = [RNG.standard_normal(size).astype(np.float32) for size in (4, 6)]


def two_convolutions(step: float | None) -> onnx.ModelProto:
    """Of float images [B, 3, H, W]; with a step, their weights are rounded to multiples of it."""
    nodes, constants = [], []
    for place, (weights, groups) in enumerate(((FIRST, 1), (SECOND, 2))):
        names = [f"w{place}", f"b{place}"]
        constants.append(numpy_helper.from_array(BIASES[place], names[1]))
        if step is None:
            constants.append(numpy_helper.from_array(weights, names[0]))
        else:
            parts = {
                f"q{place}": np.round(weights / step).astype(np.int8),
                f"s{place}": np.full(len(weights), step, np.float32),
                f"z{place}": np.zeros(len(weights), np.int8),
            }
            constants += [numpy_helper.from_array(value, name) for name, value in parts.items()]
            nodes.append(helper.make_node("DequantizeLinear", list(parts), [names[0]], axis=0))
        nodes.append(helper.make_node("Conv", [f"x{place}", *names], [f"x{place + 1}"], f"conv{place}", group=groups))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", channels, "H", "W"])
        for name, channels in (("x0", 3), ("x2", 6))
    ]
    graph = helper.make_graph(nodes, "two", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def mean_outputs(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x0": images})[0]).mean(axis=(0, 2, 3))


def test_the_mean_of_every_channel_is_that_of_the_exact_model() -> None:
    exact, rounded = two_convolutions(None), two_convolutions(0.25)
    images = RNG.random((8, 3, 5, 4), dtype=np.float32) + np.array([0.0, 2.0, -1.0], np.float32).reshape(3, 1, 1)
    expected = mean_outputs(exact, images)
    assert np.abs(mean_outputs(rounded, images) - expected).max() > 0.05
    correct_biases(exact, rounded, [images[:4], images[4:]])
    np.testing.assert_allclose(mean_outputs(rounded, images), expected, atol=1e-5)


def test_convolutions_that_are_not_quantised_keep_their_bias() -> None:
    model = two_convolutions(None)
    before = model.SerializeToString()
    correct_biases(two_convolutions(None), model, [np.ones((2, 3, 4, 4), np.float32)])
    assert model.SerializeToString() == before
