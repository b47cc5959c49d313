"""fp16 encoders: folded BatchNorms, half where it is safe, and close to fp32."""

from __future__ import annotations

import copy

import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from sal_export.gates.parity import compare_with, measure_parity, missed_limits
from sal_export.precisions.half_precision import fold_batchnorms, half_image_encoder
from sal_runtime.engines.devices import open_backend
from tests.export.lively_networks import CONFIGS, exported_image_encoder, lively, smooth_crops


@pytest.mark.parametrize("name", CONFIGS)
def test_batchnorms_are_folded_exactly_and_none_is_left(name: str) -> None:
    """Trained BatchNorms shift and scale by any amount; a folded network gives the same features."""
    networks = copy.deepcopy(lively(name))
    generator = torch.Generator().manual_seed(0)
    for module in networks.image_backbone.trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator)
    images = networks.image_backbone.normalise(torch.as_tensor(smooth_crops(4)))
    half = half_image_encoder(networks)
    assert not [module for module in half.networks.image_backbone.trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        expected = networks.image_backbone.trunk(images)
        fold_batchnorms(networks.image_backbone.trunk, images[:1])
        got = networks.image_backbone.trunk(images)
    assert float((got - expected).abs().max()) < 1e-3 * float(expected.abs().max())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_fp16_graph_is_half_where_it_may_be(name: str) -> None:
    graph = onnx.load_from_string(exported_image_encoder(name, half=True)).graph
    kinds = {value.name: value.data_type for value in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            wanted = TensorProto.FLOAT16 if node.op_type == "Conv" else TensorProto.FLOAT
            assert {kinds[name] for name in node.input[1:]} == {wanted}, node.name
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_fp16_passes_the_limits_of_fp16() -> None:
    source = open_backend(exported_image_encoder("sal")).run
    half = open_backend(exported_image_encoder("sal", half=True)).run
    parity = measure_parity("half", half, compare_with(source, "fp32", smooth_crops(80), None, "squares"))
    assert not missed_limits(parity, "fp16")
    assert 0 < parity.max_abs < 0.05
    assert parity.min_cosine <= parity.p1_cosine <= parity.mean_cosine <= 1.0 + 1e-6
