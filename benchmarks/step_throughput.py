"""Images a second of a training step of ResNet-50: what a device should give by its limits, and what it gives.

Every operator of a step, forward and backward, takes at least as long as its multiplications at the peak of bf16 and
at least as long as its tensors, each read or written once, at the bandwidth of a copy. The sum of the longer of the two
is what PyTorch's own operators can reach (`eager`); with everything between convolutions merged into them it would be
the sum over the convolutions alone (`fused`). `compute` and `memory` are the two limits of the step as a whole.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from sal_train import engine
from sal_train.config import Config, ModelConfig
from sal_train.datasets.peta_schema import ONE_DRAW_GROUPS, SCHEMA
from sal_train.networks import ImageBackbone, Networks
from sal_train.recipe import load_config
from sal_train.training_data import TrainingData, assemble_batch
from sal_train.unseen import UnseenSampler
from scripts.device_limits import copy_gb_per_second, matmul_tflops
from scripts.pytorch_encoders import synchronise

NUM_CATEGORIES = 1_890
BATCHES_RESIDENT = 8
WARM_UP = 5
ITERATIONS_AT_ONCE = 5
ADAM_BYTES = 28
"""Read and written for a parameter: itself, its gradient and two moments; itself and both moments again."""
STEPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "image branch": ("paper", ("embed_image",)),
    "paper": ("paper", ()),
    "sal": ("sal", ()),
}
"""Recipes, and phases that replace those of their last stage, if any."""


@dataclass(frozen=True)
class Step:
    """What is counted and measured.

    Attributes:
        batch: images.
        height: pixels.
        width: pixels.
        device: `cuda` or `cpu`.
        seconds: that each measurement takes.
    """

    batch: int
    height: int
    width: int
    device: str
    seconds: float


@dataclass(frozen=True)
class Limits:
    """Of a device.

    Attributes:
        tflops: 10^12 operations a second of a large bf16 product.
        gb_per_second: 10^9 bytes a second that a copy reads and writes together.
        measured: which of the two were measured here.
    """

    tflops: float
    gb_per_second: float
    measured: tuple[str, ...]

    @staticmethod
    def of(device: str, tflops: float | None, gb_per_second: float | None) -> Limits:
        """The given limits; what is None is measured on `device`."""
        measured = [name for name, value in (("tflops", tflops), ("gb_per_second", gb_per_second)) if value is None]
        return Limits(
            matmul_tflops(device)["bf16"] if tflops is None else tflops,
            copy_gb_per_second(device)["within_device"] if gb_per_second is None else gb_per_second,
            tuple(measured),
        )


@dataclass(frozen=True)
class OperatorCost:
    """One operator of a step: floating-point operations (a multiply-add is two) and bytes of its tensors."""

    flops: int
    bytes: int


class OperatorCosts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects the cost of every operator that computes; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.costs: list[OperatorCost] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            count = flop_registry.get(func._overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=out) if count else 0
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.costs.append(OperatorCost(int(flops), sum(tensor.nbytes for tensor in tensors)))
        return out


def count_step(step: Step, last_stride: int) -> list[OperatorCost]:
    """The operators of forward, backward and Adam of the image backbone, convolutions in bf16; nothing is computed."""
    with torch.device("meta"):
        backbone = ImageBackbone(ModelConfig(weights="none", last_stride=last_stride)).train()
        images = torch.empty(step.batch, step.height, step.width, 3)
    backbone.trunk.to(torch.bfloat16)
    with OperatorCosts() as counted:
        backbone(images).sum().backward()
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    return [*counted.costs, OperatorCost(0, ADAM_BYTES * parameters)]


def images_per_second(costs: Sequence[OperatorCost], step: Step, limits: Limits) -> dict[str, float]:
    """The four limits of the text above."""

    def rate(seconds: Iterator[float]) -> float:
        return step.batch / sum(seconds)

    def least(cost: OperatorCost) -> float:
        return max(cost.flops / (1e12 * limits.tflops), cost.bytes / (1e9 * limits.gb_per_second))

    return {
        "compute": rate(cost.flops / (1e12 * limits.tflops) for cost in costs),
        "memory": rate(cost.bytes / (1e9 * limits.gb_per_second) for cost in costs),
        "eager": rate(least(cost) for cost in costs),
        "fused": rate(least(cost) for cost in costs if cost.flops),
    }


def step_config(step: Step, name: str, last_stride: int) -> Config:
    """The recipe of one of `STEPS`, its last stage alone."""
    recipe, phases = STEPS[name]
    settings = {"last_stride": last_stride, "height": step.height, "width": step.width, "weights": '"none"'}
    overrides = [f"model.{key}={value}" for key, value in settings.items()]
    config = load_config(recipe, [*overrides, f"data.batch_size={step.batch}", "run.precision=bf16"])
    stage = config.stages[-1]
    return dataclasses.replace(config, stages=(dataclasses.replace(stage, phases=phases or stage.phases),))


def measure(config: Config, step: Step, compiled: bool) -> dict[str, float]:
    """Whole iterations as a training makes them, batches put together from random images on the device.

    Returns:
        Images a second; seconds until the first iterations were done; on CUDA the most memory that was taken, in bytes.
    """
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    device = torch.device(step.device)
    networks = Networks(config.model, SCHEMA.num_bits, NUM_CATEGORIES)
    engine.place_networks(networks, device)
    phases = engine.stage_phases(config.stages[0])
    optimisers = engine.build_optimisers(networks, phases, config.stages[0], config.optimiser)
    state = engine.TrainState(networks, optimisers, engine.new_average(networks) if config.optimiser.ema else None)
    if compiled:
        torch.compiler.reset()
        networks.image_backbone.trunk.compile()
    data = _random_data(config, step, device)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def iterate() -> None:
        rows = rng.permutation(data.rows)[: step.batch]
        images, batch = assemble_batch(config, data, rows, generator)
        engine.run_iteration(state, phases, images, batch, config)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for _ in range(WARM_UP):
        iterate()
    synchronise(step.device)
    warm = time.perf_counter()
    iterations = 0
    while iterations == 0 or time.perf_counter() - warm < step.seconds:
        for _ in range(ITERATIONS_AT_ONCE):
            iterate()
        iterations += ITERATIONS_AT_ONCE
        synchronise(step.device)
    taken = time.perf_counter() - warm
    found = {"images_per_second": step.batch * iterations / taken, "warm_up_seconds": warm - started}
    if device.type == "cuda":
        found["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    return found


def _random_data(config: Config, step: Step, device: torch.device) -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    count = BATCHES_RESIDENT * step.batch
    vectors = torch.randint(0, 2, (NUM_CATEGORIES, SCHEMA.num_bits), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, NUM_CATEGORIES, (count,), generator=generator)
    prior = vectors.float().mean(dim=0)
    images = torch.randint(0, 256, (count, step.height, step.width, 3), dtype=torch.uint8, generator=generator)
    return TrainingData(
        images=images.to(device),
        attributes=vectors[labels].float(),
        labels=labels,
        rows=np.arange(count),
        category_vectors=vectors.float().to(device),
        prior=prior.to(device),
        sampler=UnseenSampler(config.unseen, SCHEMA, prior, ONE_DRAW_GROUPS, vectors),
        device=device,
    )


def expectation(step: Step, limits: Limits, variants: Sequence[bool]) -> dict[str, Any]:
    """The result file: limits and measurements for both strides of the last stage.

    Args:
        step: what is counted, and measured on `step.device`.
        limits: of the device.
        variants: of each measurement: False as it is, True with `torch.compile`; empty measures nothing.
    """
    strides = {}
    for last_stride in (2, 1):
        costs = count_step(step, last_stride)
        measured = {}
        for name in STEPS:
            config = step_config(step, name, last_stride)
            for compiled in variants:
                key = f"{name}, compiled" if compiled else name
                measured[key] = measure(config, step, compiled)
                print(f"last_stride {last_stride}, {key}: {measured[key]}", file=sys.stderr, flush=True)
        strides[f"last_stride {last_stride}"] = {
            "gflops_per_image": sum(cost.flops for cost in costs) / step.batch / 1e9,
            "megabytes_per_image": sum(cost.bytes for cost in costs) / step.batch / 1e6,
            "limit_images_per_second": images_per_second(costs, step, limits),
            "measured": measured,
        }
    return {"step": asdict(step), "limits": asdict(limits), **strides}
