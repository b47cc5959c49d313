"""Ranges of quantised activations: those whose mean squared error is least on representative inputs.

What is outside of a range is clipped, what is inside is rounded to one of 256 steps: a narrower range rounds finer and
clips more. The range is searched by the histogram of an activation (as in Nagel et al., A White Paper on Neural
Network Quantization, 2021, section 3.1).

The addends of a sum with ReLU behind it are often far below what the other addend can lift above zero, and the range
would be spent on values that do not matter. Each is taken as no lower than the negative of the other, where the sum is
zero and stays so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sal_export.precisions.observed_graph import constants_of, observing_session

NUM_BINS = 2048
SHARES = np.linspace(0.2, 1.0, 33)
"""Of the whole range, on either side of zero, that are tried."""

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quantiser:
    """How an activation is quantised.

    Attributes:
        activation: name of the tensor in the fp32 model.
        scale: name of the constant.
        zero_point: name of the constant.
        lowest, highest: values of the range.
        steps: lowest and highest integer of the type.
    """

    activation: str
    scale: str
    zero_point: str
    lowest: float
    highest: float
    steps: tuple[int, int]


def narrow_ranges(exact: onnx.ModelProto, quantised: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]]) -> None:
    """Change the scales and zero points of activations in `quantised` to the ranges with the least error.

    Args:
        exact: the fp32 model, with one input.
        quantised: the same with Quantize/Dequantize nodes whose ranges hold everything that occurs; its activations
            have the names they have in `exact`. A signed type keeps zero point 0.
        batches: representative inputs.
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
    found: dict[str, Quantiser] = {}
    for node in quantised.graph.node:
        # a pool shares the constants of the activation before it
        if node.op_type == "QuantizeLinear" and node.input[1] not in found:
            activation, scale, zero_point = node.input
            step = numpy_helper.to_array(constants[scale]).item()
            zero = numpy_helper.to_array(constants[zero_point])
            limits = np.iinfo(zero.dtype)
            lowest, highest = step * (limits.min - int(zero.item())), step * (limits.max - int(zero.item()))
            found[scale] = Quantiser(activation, scale, zero_point, lowest, highest, (limits.min, limits.max))
    return list(found.values())


def _histograms(
    exact: onnx.ModelProto, quantisers: list[Quantiser], batches: Iterable[NDArray[np.uint8]]
) -> list[Float64Array]:
    """How often each of `NUM_BINS` values from the lowest to the highest occurs, for every quantiser."""
    nodes, names = _what_matters(exact, [quantiser.activation for quantiser in quantisers])
    session = observing_session(exact, names, nodes)
    counts = [np.zeros(NUM_BINS) for _ in quantisers]
    for batch in batches:
        for quantiser, values, of_values in zip(
            quantisers, session.run(None, {session.get_inputs()[0].name: batch}), counts, strict=True
        ):
            width = (quantiser.highest - quantiser.lowest) / (NUM_BINS - 1)
            bins = np.clip(np.rint((values.ravel() - quantiser.lowest) / width), 0, NUM_BINS - 1)
            of_values += np.bincount(bins.astype(np.int64), minlength=NUM_BINS)
    return counts


def _what_matters(model: onnx.ModelProto, activations: list[str]) -> tuple[list[onnx.NodeProto], list[str]]:
    """Nodes that bound the addends of a sum with ReLU behind it from below, and the tensors to look at instead."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    nodes, names = [], []
    for name in activations:
        of_sum = readers[readers[name][0].output[0]] if [node.op_type for node in readers[name]] == ["Add"] else []
        if [node.op_type for node in of_sum] == ["Relu"]:
            other = next(addend for addend in readers[name][0].input if addend != name)
            nodes.append(helper.make_node("Neg", [other], [f"{name}_least"]))
            nodes.append(helper.make_node("Max", [name, f"{name}_least"], [f"{name}_that_matters"]))
            names.append(f"{name}_that_matters")
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
    """Scales and zero points to try; shares of either side, of both alike where the type is signed."""
    least, greatest = quantiser.steps
    if least < 0:
        return [(float(share) * quantiser.highest / greatest, 0) for share in SHARES]
    below = SHARES if quantiser.lowest < 0 else [0.0]
    found = []
    for lowest in np.multiply(below, quantiser.lowest):
        for highest in SHARES * quantiser.highest:
            scale = float(highest - lowest) / (greatest - least)
            found.append((scale, int(np.rint(least - lowest / scale))))
    return found
