"""fp16 and int8 encoders: what their graphs hold, how near they come, and what the gate does not let through."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from rich.console import Console
from torch import nn

from sal_export.gates import retrieval
from sal_export.gates.parity import LIMITS, compare_with, measure_parity
from sal_export.gates.retrieval import Retrieval, Task, check_retrieval, measure_retrieval
from sal_export.precisions.half_precision import fold_batchnorms, half_image_encoder
from sal_export.precisions.int8 import METHODS, S8S8, U8S8, Layout, calibration_hash, quantise
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import ParityError
from sal_train.evaluation.protocol import Protocol
from tests.export.lively_networks import CONFIGS, exported_image_encoder, lively

QUIET = Console(stderr=True, quiet=True)


def crops(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures: noise would saturate every activation alike."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 4, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def fp32() -> bytes:
    return exported_image_encoder("sal")


@pytest.mark.parametrize("name", CONFIGS)
def test_batchnorms_are_folded_exactly_and_none_is_left(name: str) -> None:
    """Trained BatchNorms shift and scale by any amount; a folded network gives the same features."""
    networks = copy.deepcopy(lively(name))
    generator = torch.Generator().manual_seed(0)
    for module in networks.image_backbone.trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator)
    images = networks.image_backbone.normalise(torch.as_tensor(crops(4)))
    half = half_image_encoder(networks)
    assert not [module for module in half.image_backbone.trunk.modules() if isinstance(module, nn.BatchNorm2d)]
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


def test_uint8_is_cast_before_anything_else(fp32: bytes) -> None:
    """TensorRT refuses any other operation on the uint8 input."""
    graph = onnx.load_from_string(fp32).graph
    consumers = {node.op_type for node in graph.node if "images" in node.input}
    assert consumers <= {"Cast", "Shape"}


def test_fp16_passes_the_limits_of_fp16() -> None:
    source = open_backend(exported_image_encoder("sal")).run
    half = open_backend(exported_image_encoder("sal", half=True)).run
    parity = measure_parity("half", half, compare_with(source, "fp32", crops(80), None, "squares"), "fp16")
    assert 0 < parity.max_abs < 0.05
    assert parity.min_cosine <= parity.p1_cosine <= parity.mean_cosine <= 1.0 + 1e-6


@pytest.mark.parametrize("layout", [U8S8, S8S8], ids=lambda layout: layout.name)
@pytest.mark.parametrize("method", METHODS)
def test_int8_graphs_hold_what_their_engines_take(fp32: bytes, layout: Layout, method: str) -> None:
    content = quantise(fp32, crops(32), method, layout)
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
    test_images = crops(40, seed=1)
    exact, got = open_backend(fp32).run(test_images), open_backend(content).run(test_images)
    assert (exact * got).sum(axis=1).mean() > 0.9


def test_without_depthwise_convolutions_all_but_the_stem_are_quantised() -> None:
    content = quantise(exported_image_encoder("paper"), crops(16), "minmax", U8S8)
    graph = onnx.load_from_string(content).graph
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    stem, *convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 52
    assert not dequantised.intersection(stem.input)
    assert all({node.input[0], node.input[1]} <= dequantised for node in convolutions)


def test_the_calibration_set_is_known_by_its_pixels() -> None:
    changed = crops(16)
    changed[3, 4, 5, 0] ^= 1
    assert calibration_hash(crops(16)) == calibration_hash(crops(16).copy())
    assert calibration_hash(changed) != calibration_hash(crops(16))


def rotated(degrees: float, share: float) -> object:
    """An encoder of 2-d inputs whose first rows are turned: cosines are known exactly."""

    def encode(batch: np.ndarray) -> np.ndarray:
        turned = batch.copy()
        rows = np.flatnonzero(batch[:, 2] < share)
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
        turned[rows, :2] = batch[rows, :2] @ turn
        return np.ascontiguousarray(turned[:, :2])

    return encode


@pytest.mark.parametrize(
    ("precision", "degrees", "share", "passes"),
    [
        ("fp32", 0.0, 1.0, True),
        ("fp32", 0.5, 1.0, False),  # cosine 0.99996
        ("fp16", 0.5, 1.0, True),
        ("fp16", 3.0, 0.005, False),  # one row in two hundred at 0.9986: the smallest cosine decides
        ("fp16", 1.0, 1.0, False),  # all at 0.99985: the mean decides
        ("int8", 10.0, 1.0, True),  # cosine 0.9848
        ("int8", 14.0, 1.0, False),  # cosine 0.9703: the mean decides
        ("int8", 22.0, 0.02, False),  # two in a hundred at 0.927: the first percentile decides
    ],
)
def test_limits_of_each_precision(precision: str, degrees: float, share: float, passes: bool) -> None:
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    inputs = np.stack([np.cos(angles), np.sin(angles), np.arange(200) / 200], axis=1).astype(np.float32)
    source, exported = rotated(0.0, 0.0), rotated(degrees, share)
    comparison = compare_with(source, "unturned", inputs, None, "angles")  # type: ignore[arg-type]
    if passes:
        parity = measure_parity("turned", exported, comparison, precision)  # type: ignore[arg-type]
        assert parity.min_cosine == pytest.approx(np.cos(np.deg2rad(degrees)), abs=1e-6)
    else:
        with pytest.raises(ParityError, match="Nothing has been published"):
            measure_parity("turned", exported, comparison, precision)  # type: ignore[arg-type]
    assert set(LIMITS) == {"fp32", "fp16", "int8"}


def test_retrieval_is_that_of_the_protocol() -> None:
    """Two categories, four images, by hand: AP of query 0 is (1/1 + 2/3) / 2, of query 1 is (1/1 + 2/4) / 2."""
    protocol = Protocol(
        name="squares",
        image_paths=(),
        attributes=np.zeros((4, 1), np.uint8),
        categories=np.array([0, 1, 0, 1]),
        queries=np.eye(2, dtype=np.uint8),
        seen=np.zeros(2, dtype=bool),
    )
    embeddings = np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0.2], [0.0, 1.0]], np.float32)
    # query 0 (first coordinate) ranks images 0, 1, 2, 3; query 1 ranks 3, 1, 2, 0
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    task = Task(protocol, images, np.eye(2, dtype=np.float32))
    found = measure_retrieval("by hand", lambda batch: embeddings[batch[:, 0, 0, 0]], task, QUIET)
    assert found.mAP == pytest.approx(((1 + 2 / 3) / 2 + (1 + 2 / 2) / 2) / 2)
    assert found.rank1 == 1.0
    assert (found.num_queries, found.num_gallery, found.data) == (2, 4, "squares")
    assert found.first_hits == (0, 1)
    blind = measure_retrieval("blind", lambda batch: np.tile([[0.0, 1.0]], (len(batch), 1)), task, QUIET)
    assert (blind.rank1, blind.first_hits) == (0.5, (0,))  # equal scores: the order of the gallery


@pytest.mark.parametrize(
    ("precision", "mean_ap", "rank1", "passes"),
    [
        ("fp16", 0.2955, 0.4955, True),
        ("fp16", 0.2945, 0.5, False),
        ("int8", 0.2905, 0.4905, True),
        ("int8", 0.2895, 0.5, False),
        ("int8", 0.3, 0.4895, False),
        ("int8", 0.35, 0.55, True),
    ],
)
def test_what_may_be_lost(precision: str, mean_ap: float, rank1: float, passes: bool) -> None:
    reference = Retrieval(0.3, 0.5, 484, 16_483, "people", ())
    measured = Retrieval(mean_ap, rank1, 484, 16_483, "people", ())
    assert retrieval.MAX_LOSS == {"fp16": 0.005, "int8": 0.01}
    if passes:
        check_retrieval("encoder", precision, reference, measured)
    else:
        with pytest.raises(ParityError, match="may be lost"):
            check_retrieval("encoder", precision, reference, measured)


def test_the_refusal_says_which_queries_it_rests_on() -> None:
    reference = Retrieval(0.3, 0.5, 100, 1_000, "people", range(50))
    measured = Retrieval(0.3, 0.44, 100, 1_000, "people", range(7, 51))
    words = r"rank-1 6\.00 \(of 100 queries 7 lost their first hit, 1 gained one\)"
    with pytest.raises(ParityError, match=words):
        check_retrieval("encoder", "int8", reference, measured)
