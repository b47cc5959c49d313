"""fp16 encoders: half where it is safe, close to fp32, and no further from it than PyTorch's own."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sal_export.gates.parity import compare_with, measure_parity, missed_limits
from sal_export.precisions.half_precision import half_precision
from sal_export.precisions.int8 import gates
from sal_runtime.engines.devices import open_backend
from scripts.gpu_checks.half_network import half_image_encoder
from tests.export.lively_networks import CONFIGS, exported_image_encoder, lively, smooth_crops


@pytest.mark.parametrize("name", CONFIGS)
def test_the_fp16_graph_is_half_where_it_may_be(name: str) -> None:
    small = gates(onnx.load_from_string(exported_image_encoder(name)).graph)
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load_from_string(half_precision(exported_image_encoder(name))), strict_mode=True
    ).graph
    kinds = {value.name: value.data_type for value in inferred.initializer}
    kinds |= {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)}
    wanted = {"Conv": TensorProto.FLOAT16, "MaxPool": TensorProto.FLOAT16}
    wanted |= dict.fromkeys(
        ("Gemm", "ReduceMean", "AveragePool", "InstanceNormalization", "Sigmoid", "ReduceL2"), TensorProto.FLOAT
    )
    for node in inferred.node:
        if node.op_type in wanted:
            floats = {kinds[name] for name in node.input if kinds[name] != TensorProto.INT64}
            assert floats == {TensorProto.FLOAT if node.name in small else wanted[node.op_type]}, node.name
    assert inferred.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert inferred.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert not {value.name for value in inferred.initializer} - {name for node in inferred.node for name in node.input}


def test_fp16_passes_the_limits_of_fp16() -> None:
    source = open_backend(exported_image_encoder("sal")).run
    half = open_backend(half_precision(exported_image_encoder("sal"))).run
    parity = measure_parity("half", half, compare_with(source, "fp32", smooth_crops(80), None, "squares"))
    assert not missed_limits(parity, "fp16")
    assert 0 < parity.max_abs < 0.05
    assert parity.min_cosine <= parity.p1_cosine <= parity.mean_cosine <= 1.0 + 1e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_fp16_is_as_near_to_fp32_as_that_of_pytorch(name: str) -> None:
    images = smooth_crops(16)
    exact = open_backend(exported_image_encoder(name)).run(images)
    with torch.no_grad():
        peer = half_image_encoder(lively(name))(torch.as_tensor(images)).numpy()
    ours = open_backend(half_precision(exported_image_encoder(name))).run(images)
    error, error_of_peer = (np.linalg.norm(got - exact, axis=1).mean() for got in (ours, peer))
    assert error <= 1.5 * error_of_peer


def test_tensors_are_cast_once_where_the_types_meet_and_shared_constants_stay() -> None:
    """A convolution, a sum with a shared constant, a mean and its gate: the values are those of a hand-cast graph."""
    weights = np.full((1, 1, 1, 1), 1 / 3, np.float32)
    shift = np.full((1, 1, 1, 1), 0.1, np.float32)
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(shift, "shift")]
    nodes = [
        helper.make_node("Sub", ["x", "shift"], ["centred"], "centre"),
        helper.make_node("Conv", ["centred", "w"], ["map"], "conv"),
        helper.make_node("Add", ["map", "shift"], ["shifted"], "add"),
        helper.make_node("GlobalAveragePool", ["shifted"], ["mean"], "mean"),
        helper.make_node("Sigmoid", ["mean"], ["gate"], "gate"),
        helper.make_node("Mul", ["shifted", "gate"], ["gated"], "weigh"),
        helper.make_node("GlobalAveragePool", ["gated"], ["y"], "pool"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, "h", "w"]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content = half_precision(model.SerializeToString())
    casts = [node.input[0] for node in onnx.load_from_string(content).graph.node if node.op_type == "Cast"]
    assert casts == ["centred", "shifted", "gate", "gated"]
    x = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    (got,) = ReferenceEvaluator(onnx.load_from_string(content)).run(None, {"x": x})
    shifted = (x - shift).astype(np.float16) * weights.astype(np.float16) + shift.astype(np.float16)
    gate = 1 / (1 + np.exp(-shifted.astype(np.float32).mean(axis=(2, 3), keepdims=True)))
    wanted = (shifted * gate.astype(np.float16)).astype(np.float32).mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(got, wanted, rtol=2e-3)
