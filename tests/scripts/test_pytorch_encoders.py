"""The PyTorch part of scripts/gpu_checks: operations counted by hand, and graphs on a pretended CUDA."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sal_runtime.images.spec import ImageSpec
from scripts.gpu_checks.crops import plain_crops
from scripts.gpu_checks.limits import MATRIX, copy_gb_per_second, count_flops, matmul_tflops
from scripts.gpu_checks.pytorch import WARM_UP, EagerEncoder, GraphEncoder

SPEC = ImageSpec(8, 4)


class Small(nn.Module):
    """Like an image encoder: uint8 [N, H, W, 3] to [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3, padding=1, stride=2)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.linear = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.depthwise(self.convolution(images.float().permute(0, 3, 1, 2)))
        return self.linear(maps.mean(dim=(2, 3)))


class Flat(nn.Module):
    """Its output is its input's own memory, so a pretended replay, which does nothing, gives what a real one would."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Flat:
        return self

    def forward(self, images: Tensor) -> Tensor:
        self.runs += 1
        return images.flatten(1)


def test_operations_are_those_counted_by_hand() -> None:
    """Stride 2 leaves 4 x 2 positions; a multiply-add is two operations."""
    convolution, depthwise, linear = 4 * 2 * 6 * 3 * 9, 4 * 2 * 6 * 9, 6 * 5
    assert count_flops(Small().eval(), SPEC) == 2 * (convolution + depthwise + linear)


def test_limits_are_measured_for_both_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MATRIX, "cpu", 16)
    assert all(value > 0 for value in matmul_tflops("cpu").values())
    assert set(matmul_tflops("cpu")) == {"fp32", "fp16", "bf16"}
    assert all(value > 0 for value in copy_gb_per_second("cpu").values())


def test_the_eager_encoder_leaves_its_module_as_it_was() -> None:
    module = Small().eval()
    crops = plain_crops(SPEC, 3)
    with torch.no_grad():
        expected = module(torch.as_tensor(crops)).numpy()
    encoder = EagerEncoder(module, "cpu")
    np.testing.assert_allclose(encoder.encode(crops), expected, rtol=1e-4, atol=1e-4)
    encoder.resident(crops)()
    assert module.convolution.weight.is_contiguous()


def test_a_graph_is_captured_once_for_a_batch_size_and_replayed_on_new_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replayed: list[object] = []

    class Graph:
        def replay(self) -> None:
            replayed.append(self)

    class Stream:
        def wait_stream(self, _: object) -> None: ...

    @contextlib.contextmanager
    def nothing(_: object) -> Iterator[None]:
        yield

    for name, pretended in (
        ("CUDAGraph", Graph),
        ("Stream", Stream),
        ("current_stream", Stream),
        ("stream", nothing),
        ("graph", nothing),
        ("synchronize", lambda: None),
    ):
        monkeypatch.setattr(torch.cuda, name, pretended)
    monkeypatch.setattr(nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self.clone())
    module = Flat()
    encoder = GraphEncoder(module)
    crops = plain_crops(SPEC, 8)
    for batch in (crops[:3], crops[3:6], crops[6:]):
        assert np.array_equal(encoder.encode(batch), batch.reshape(len(batch), -1))
    assert module.runs == 2 * (WARM_UP + 1)
    encoder.resident(crops[:3])()
    assert replayed[0] is replayed[1] is replayed[3]
    assert replayed[2] is not replayed[0]


def test_drawn_people_are_always_the_same_and_differ_from_each_other() -> None:
    crops = plain_crops(ImageSpec(64, 32), 5)
    assert crops.shape == (5, 64, 32, 3)
    assert crops.dtype == np.uint8
    assert np.array_equal(crops, plain_crops(ImageSpec(64, 32), 5))
    assert len({crop.tobytes() for crop in crops}) == 5
