"""Exported encoders against PyTorch, and graphs that must not pass."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from torch import nn

from sal_export.encoders import DeployedAttributeEncoder, DeployedImageEncoder
from sal_export.gates.parity import compare_with, measure_parity
from sal_export.onnx_export import check_graph, export_onnx
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import ParityError
from sal_train.config import ModelConfig
from sal_train.networks import Networks
from tests.export.lively_networks import CONFIGS, exported_image_encoder, lively


@pytest.fixture(scope="module", params=list(CONFIGS))
def exported(request: pytest.FixtureRequest) -> tuple[Networks, bytes]:
    return lively(request.param), exported_image_encoder(request.param)


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 48, 32, 3), dtype=np.uint8)


def test_the_image_graph_takes_uint8_crops_and_any_batch(exported: tuple[Networks, bytes]) -> None:
    networks, content = exported
    graph = onnx.load_from_string(content).graph
    tensor = graph.input[0].type.tensor_type
    assert tensor.elem_type == TensorProto.UINT8
    assert [axis.dim_param or axis.dim_value for axis in tensor.shape.dim] == ["batch", 48, 32, 3]
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]
    assert not [node for node in graph.node if node.metadata_props or node.doc_string]  # no paths of the exporter
    backend, module = open_backend(content), DeployedImageEncoder(networks)
    for size in (1, 2, 3, 17):
        got = backend.run(crops(size))
        with torch.no_grad():
            expected = module(torch.as_tensor(crops(size))).numpy()
        assert got.dtype == np.float32
        assert np.abs(got - expected).max() < 1e-4
        assert np.linalg.norm(got, axis=1) == pytest.approx(np.ones(size), abs=1e-5)


def test_the_attribute_graph(exported: tuple[Networks, bytes]) -> None:
    networks, _ = exported
    module = DeployedAttributeEncoder(networks)
    backend = open_backend(export_onnx(module, torch.zeros(2, 6), "attributes"))
    vectors = np.random.default_rng(1).integers(0, 2, (100, 6)).astype(np.float32)
    with torch.no_grad():
        assert np.abs(backend.run(vectors) - module(torch.as_tensor(vectors)).numpy()).max() < 1e-5


def test_linear_encoders_and_a_linear_query_give_the_same_embeddings() -> None:
    config = ModelConfig(
        backbone="efficientnet_lite0", embedding_output="batchnorm", encoders="linear", linear_query=True
    )
    torch.manual_seed(3)
    networks = Networks(config, num_bits=6, num_categories=4).train()
    vectors = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    networks.embed_attributes(vectors)  # statistics that are not those of a new BatchNorm
    networks.eval().set_linear_query(torch.randn(128, 6), torch.randn(128))
    backend = open_backend(export_onnx(DeployedAttributeEncoder(networks), vectors[:2], "attributes"))
    with torch.no_grad():
        expected = torch.nn.functional.normalize(networks.embed_attributes(vectors)).numpy()
    assert np.abs(backend.run(vectors.numpy()) - expected).max() < 1e-5


def test_the_gate_passes_a_good_export_and_measures_it(exported: tuple[Networks, bytes]) -> None:
    networks, content = exported
    module = DeployedImageEncoder(networks)

    @torch.no_grad()
    def source(batch: np.ndarray) -> np.ndarray:
        return np.asarray(module(torch.as_tensor(batch)).numpy())

    queries = source(crops(5))
    comparison = compare_with(source, "PyTorch", crops(80), queries, "noise")
    parity = measure_parity("image_encoder.onnx", open_backend(content).run, comparison)
    assert parity.batches == (1, 2, 3, 17, 64, 65)
    assert parity.max_abs < 1e-4
    assert parity.top10_agreement is not None
    assert parity.top10_agreement > 0.99


class FixedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 6) * 2.0


def test_a_fixed_batch_does_not_leave_the_exporter() -> None:
    with pytest.raises(ParityError, match="the batch axis of attributes was fixed to 2"):
        export_onnx(FixedBatch(), torch.zeros(2, 6), "attributes")


def test_wrong_names_and_left_over_norms_are_refused() -> None:
    value = helper.make_tensor_value_info
    node = helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["embeddings"])
    scale = helper.make_tensor("s", TensorProto.FLOAT, [3], [1.0] * 3)
    shape = ["batch", 3]
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, shape)], [value("embeddings", TensorProto.FLOAT, shape)], [scale]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(ParityError, match="not folded"):
        check_graph(model, "x")
    with pytest.raises(ParityError, match="expected 'images'"):
        check_graph(model, "images")


def test_channels_that_died_in_training_have_weights_of_zero_and_all_others_are_as_they_were() -> None:
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[1] = torch.tensor([1e-30, -1e-14, 1e-11, 0.5])
        layer.bias[0] = -1e-38
    model = onnx.load_from_string(export_onnx(layer, torch.zeros(2, 4), "x"))
    wanted, bias = layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()
    wanted[1, :2], bias[0] = 0, 0
    found = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    for expected in (wanted, bias):
        assert any(np.array_equal(one, expected) or np.array_equal(one.T, expected) for one in found)


def test_the_least_length_of_a_unit_vector_is_no_dead_weight() -> None:
    model = export_onnx(UnitLength(), torch.ones(2, 4), "x")
    (found,) = InferenceSession(model).run(None, {"x": np.zeros((1, 4), np.float32)})
    assert np.array_equal(found, np.zeros((1, 4)))


class UnitLength(nn.Module):
    """Divides by the length, or by 1e-12 where that is more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(x)


def test_uint8_is_cast_before_anything_else(exported: tuple[Networks, bytes]) -> None:
    """TensorRT refuses any other operation on the uint8 input."""
    graph = onnx.load_from_string(exported[1]).graph
    consumers = {node.op_type for node in graph.node if "images" in node.input}
    assert "Cast" in consumers
    assert consumers <= {"Cast", "Shape"}
