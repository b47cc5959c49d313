"""int8 encoders: graphs that their inference libraries accept, and close to fp32."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sal_export.precisions.int8 import (
    CALIBRATION_BATCH,
    METHODS,
    S8S8,
    U8S8,
    Layout,
    averages_as_convolutions,
    calibration_hash,
    gates,
    quantise,
)
from sal_runtime.engines.devices import open_backend
from tests.export.lively_networks import exported_image_encoder, smooth_crops


@pytest.fixture(scope="module")
def fp32() -> bytes:
    return exported_image_encoder("sal")


@pytest.mark.parametrize(
    ("method", "layout"),
    [*((method, U8S8) for method in METHODS), ("mse", S8S8)],
    ids=["minmax", "percentile", "entropy", "mse", "mse-s8s8"],
)
def test_int8_graphs_hold_what_their_engines_take(fp32: bytes, method: str, layout: Layout) -> None:
    content = quantise(fp32, smooth_crops(CALIBRATION_BATCH), method, layout)
    graph = onnx.load_from_string(content).graph
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    zero_points = [constants[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    if layout is S8S8:
        assert {points.dtype for points in zero_points} == {np.dtype(np.int8)}
        assert not any(points.any() for points in zero_points)
    else:
        assert {points.dtype for points in zero_points} == {np.dtype(np.uint8)}
    made_by = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node in convolutions[:3]:  # the first block
        assert constants[node.input[1]].dtype == np.float32
        assert made_by[node.input[0]].op_type in ("Div", "Clip")
    for node in convolutions[3:]:
        weights = constants[made_by[node.input[1]].input[0]]
        assert weights.dtype == np.int8
        assert constants[made_by[node.input[1]].input[1]].shape == (len(weights),)  # a scale for each channel
        assert constants[node.input[2]].dtype == np.float32  # TensorRT refuses int32 biases
    assert Counter(node.op_type for node in graph.node)["Gemm"] == 4  # the head stays what it was
    test_images = smooth_crops(40, seed=1)
    exact, got = open_backend(fp32).run(test_images), open_backend(content).run(test_images)
    assert (exact * got).sum(axis=1).mean() > 0.9


def test_without_depthwise_convolutions_all_but_the_stem_and_what_its_maxima_feed_are_quantised() -> None:
    content = quantise(exported_image_encoder("paper"), smooth_crops(16), "minmax", U8S8)
    graph = onnx.load_from_string(content).graph
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    (pooling,) = [node for node in graph.node if node.op_type == "MaxPool"]
    exact = [node for node in graph.node if node.op_type == "Conv" and not dequantised.intersection(node.input)]
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node not in exact]
    assert len(convolutions) == 50
    _, *fed = exact
    assert len(fed) == 2
    assert all(node.input[0] == pooling.output[0] for node in fed)
    assert all({node.input[0], node.input[1]} <= dequantised for node in convolutions)


@pytest.mark.parametrize("layout", [U8S8, S8S8], ids=["u8s8", "s8s8"])
def test_a_channel_of_zeros_has_a_positive_scale(fp32: bytes, layout: Layout) -> None:
    """TensorRT refuses any other."""
    model = onnx.load_from_string(fp32)
    dead = [node for node in model.graph.node if node.op_type == "Conv"][5]
    for value in model.graph.initializer:
        if value.name in dead.input:
            weights = numpy_helper.to_array(value).copy()
            weights[0] = 0
            value.CopyFrom(numpy_helper.from_array(weights, value.name))
    content = quantise(model.SerializeToString(), smooth_crops(CALIBRATION_BATCH), "minmax", layout)
    graph = onnx.load_from_string(content).graph
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    scales = [constants[node.input[1]] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(scales) > 20
    assert all((scale > 0).all() for scale in scales)


def test_the_calibration_set_is_known_by_its_pixels() -> None:
    changed = smooth_crops(16)
    changed[3, 4, 5, 0] ^= 1
    assert calibration_hash(smooth_crops(16)) == calibration_hash(smooth_crops(16).copy())
    assert calibration_hash(changed) != calibration_hash(smooth_crops(16))


def test_gates_are_what_is_between_an_average_and_a_sigmoid() -> None:
    nodes = [
        helper.make_node("Conv", ["images", "a"], ["x"], "trunk"),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], "average"),
        helper.make_node("Conv", ["mean", "b"], ["squeezed"], "squeeze"),
        helper.make_node("Relu", ["squeezed"], ["active"], "active"),
        helper.make_node("Add", ["active", "c"], ["logit"], "shift"),
        helper.make_node("Sigmoid", ["logit"], ["gate"], "sigmoid"),
        helper.make_node("Mul", ["x", "gate"], ["y"], "weighted"),
        helper.make_node("Conv", ["y", "d"], ["z"], "next"),
    ]
    graph = helper.make_graph(nodes, "gated", [], [])
    assert gates(graph) == ["squeeze", "active", "shift", "sigmoid"]


@pytest.mark.parametrize(("pads", "replaced"), [([0, 0, 0, 0], True), ([1, 1, 1, 1], False)])
def test_average_pooling_becomes_a_convolution_with_the_same_result(pads: list[int], replaced: bool) -> None:
    pooling = helper.make_node("AveragePool", ["x"], ["mean"], "pool", kernel_shape=[2, 3], strides=[2, 3], pads=pads)
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 5, *size])
        for name, size in (("x", (8, 9)), ("y", ("h", "w")))
    ]
    nodes = [pooling, helper.make_node("Relu", ["mean"], ["y"], "active")]
    graph = helper.make_graph(nodes, "pooled", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    images = np.random.default_rng(5).normal(size=(3, 5, 8, 9)).astype(np.float32)
    (before,) = ReferenceEvaluator(model).run(None, {"x": images})
    changed = averages_as_convolutions(model)
    onnx.checker.check_model(changed, full_check=True)
    assert [node.op_type for node in changed.graph.node] == ["Conv" if replaced else "AveragePool", "Relu"]
    (after,) = ReferenceEvaluator(changed).run(None, {"x": images})
    np.testing.assert_allclose(after, before, atol=1e-6)
