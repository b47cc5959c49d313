"""Ranges of quantised activations with the least mean squared error on representative inputs.

Values outside of a range are clipped, values inside are rounded to one of 256 steps: a narrower range rounds finer and
clips more. The search uses the histogram of an activation (as in Nagel et al., A White Paper on Neural Network
Quantization, 2021, section 3.1).

An addend of a sum with a ReLU behind it is often so negative that the other addend cannot lift the sum above zero.
Such values would widen the range although they do not matter. So each addend is bounded from below by the negative of
the other: below that bound the sum is negative, and the ReLU gives zero anyway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sal_export.precisions.observed_graph import constants_of, observing_session
from sal_runtime.arrays import Float64Array, UInt8Array

NUM_BINS = 2048
SHARES = np.linspace(0.2, 1.0, 33)
"""Shares of the whole range, on either side of zero, to try."""


@dataclass(frozen=True)
class Quantiser:
    """Quantiser of one activation.

    Attributes:
        activation: name of the tensor in the fp32 model.
        scale: name of the constant in the quantised model.
        zero_point: name of the constant in the quantised model.
        lowest: smallest value of the range.
        highest: largest value of the range.
        steps: smallest and largest integer of the type.
    """

    activation: str
    scale: str
    zero_point: str
    lowest: float
    highest: float
    steps: tuple[int, int]


def narrow_ranges(exact: onnx.ModelProto, quantised: onnx.ModelProto, batches: Iterable[UInt8Array]) -> None:
    """Change the scales and zero points of activations in `quantised` to the ranges with the least error.

    Args:
        exact: the fp32 model, with one input.
        quantised: the same model with Quantize/Dequantize nodes, whose ranges cover all values; its activations have
            the same names as in `exact`. Signed types keep zero point 0. Changed in place.
        batches: representative inputs, uint8 `[n, H, W, 3]` each.
    """
    constants = constants_of(quantised)
    quantisers = _quantisers(quantised)
    for quantiser, counts in zip(quantisers, _histograms(exact, quantisers, batches), strict=True):
        scale, zero_point = _best_range(quantiser, counts)
        for name, value in ((quantiser.scale, scale), (quantiser.zero_point, zero_point)):
            before = numpy_helper.to_array(constants[name])
            constants[name].CopyFrom(numpy_helper.from_array(np.full_like(before, value), name))


def _quantisers(quantised: onnx.ModelProto) -> list[Quantiser]:
    constants = constants_of(quantised)
    quantisers: dict[str, Quantiser] = {}
    for node in quantised.graph.node:
        # a pool shares the constants of the activation before it
        if node.op_type == "QuantizeLinear" and node.input[1] not in quantisers:
            activation, scale, zero_point = node.input
            step = numpy_helper.to_array(constants[scale]).item()
            zero = numpy_helper.to_array(constants[zero_point])
            limits = np.iinfo(zero.dtype)
            lowest, highest = step * (limits.min - int(zero.item())), step * (limits.max - int(zero.item()))
            quantisers[scale] = Quantiser(activation, scale, zero_point, lowest, highest, (limits.min, limits.max))
    return list(quantisers.values())


def _histograms(
    exact: onnx.ModelProto, quantisers: list[Quantiser], batches: Iterable[UInt8Array]
) -> list[Float64Array]:
    """Histogram of each activation: `NUM_BINS` counts of values from the lowest to the highest of its range."""
    nodes, names = _bounded_addends(exact, [quantiser.activation for quantiser in quantisers])
    session = observing_session(exact, names, nodes)
    histograms = [np.zeros(NUM_BINS) for _ in quantisers]
    for batch in batches:
        activations = session.run(None, {session.get_inputs()[0].name: batch})
        for quantiser, values, counts in zip(quantisers, activations, histograms, strict=True):
            width = (quantiser.highest - quantiser.lowest) / (NUM_BINS - 1)
            bins = np.clip(np.rint((values.ravel() - quantiser.lowest) / width), 0, NUM_BINS - 1)
            counts += np.bincount(bins.astype(np.int64), minlength=NUM_BINS)
    return histograms


def _bounded_addends(model: onnx.ModelProto, activations: list[str]) -> tuple[list[onnx.NodeProto], list[str]]:
    """Nodes that bound the addends of sums with a ReLU behind them, and the tensors to observe for `activations`."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    nodes, names = [], []
    for name in activations:
        is_addend = [node.op_type for node in readers[name]] == ["Add"]
        sum_readers = readers[readers[name][0].output[0]] if is_addend else []
        if [node.op_type for node in sum_readers] == ["Relu"]:
            other = next(addend for addend in readers[name][0].input if addend != name)
            nodes.append(helper.make_node("Neg", [other], [f"{name}_bound"]))
            nodes.append(helper.make_node("Max", [name, f"{name}_bound"], [f"{name}_bounded"]))
            names.append(f"{name}_bounded")
        else:
            names.append(name)
    return nodes, names


def _best_range(quantiser: Quantiser, counts: Float64Array) -> tuple[float, int]:
    """Scale and zero point with the least squared error over a histogram."""
    values = np.linspace(quantiser.lowest, quantiser.highest, NUM_BINS)
    least, greatest = quantiser.steps
    best = (np.inf, 0.0, 0)
    for scale, zero_point in _ranges(quantiser):
        rounded = (np.clip(np.rint(values / scale) + zero_point, least, greatest) - zero_point) * scale
        best = min(best, (float(counts @ (rounded - values) ** 2), scale, zero_point))
    return best[1:]


def _ranges(quantiser: Quantiser) -> list[tuple[float, int]]:
    """Scales and zero points to try: shares of each side of zero, the same share of both if the type is signed."""
    least, greatest = quantiser.steps
    if least < 0:
        return [(float(share) * quantiser.highest / greatest, 0) for share in SHARES]
    below = SHARES if quantiser.lowest < 0 else [0.0]
    ranges = []
    for lowest in np.multiply(below, quantiser.lowest):
        for highest in SHARES * quantiser.highest:
            scale = float(highest - lowest) / (greatest - least)
            ranges.append((scale, int(np.rint(least - lowest / scale))))
    return ranges
