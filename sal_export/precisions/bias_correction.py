"""Biases of quantised convolutions, corrected for what the rounding of their weights does to the mean of each channel.

Rounded weights give other sums; most of that error is the same for a channel everywhere, in all images, so it can be
taken out of the bias (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sal_export.precisions.observed_graph import constants_of, observing_session

Array = NDArray[np.float32]


def correct_biases(exact: onnx.ModelProto, quantised: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]]) -> None:
    """Change the float biases of `quantised` so that rounded weights leave the means of its convolutions as they were.

    Args:
        exact: the fp32 model, with one input.
        quantised: the same with Quantize/Dequantize nodes; its convolutions have the names they have in `exact`.
        batches: representative inputs, all of one size.
    """
    convolutions = {node.name: node for node in exact.graph.node if node.op_type == "Conv" and len(node.input) == 3}
    means = _mean_inputs(exact, {node.input[0] for node in convolutions.values()}, batches)
    weights = constants_of(exact)
    constants = constants_of(quantised)
    dequantised = {node.output[0]: node for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
    for node in quantised.graph.node:
        if node.name in convolutions and node.input[1] in dequantised:
            source = convolutions[node.name]
            dequantise = dequantised[node.input[1]]
            inputs = {name: numpy_helper.to_array(constants[name]) for name in dequantise.input}
            (rounded,) = ReferenceEvaluator(dequantise).run(None, inputs)
            shift = _mean_output(rounded - numpy_helper.to_array(weights[source.input[1]]), means[source.input[0]])
            bias = constants[node.input[2]]
            bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) - shift, bias.name))


def _mean_inputs(model: onnx.ModelProto, names: set[str], batches: Iterable[NDArray[np.uint8]]) -> dict[str, Array]:
    """The mean of every channel of these activations [B, C, H, W] over all batches and places, [C]."""
    ordered = sorted(names)
    axes = numpy_helper.from_array(np.array([0, 2, 3]), "mean_axes")
    means = [helper.make_node("ReduceMean", [name, axes.name], [f"{name}_mean"], keepdims=0) for name in ordered]
    session = observing_session(model, [node.output[0] for node in means], means, [axes])
    found = [session.run(None, {session.get_inputs()[0].name: batch}) for batch in batches]
    return {
        name: np.mean(of_batches, axis=0) for name, of_batches in zip(ordered, zip(*found, strict=True), strict=True)
    }


def _mean_output(weights: Array, mean_input: Array) -> Array:
    """Of a convolution [out, in / groups, kH, kW] whose input has these means [in] everywhere, [out]."""
    num_out, num_in = weights.shape[:2]
    groups = len(mean_input) // num_in
    inputs = mean_input.reshape(groups, num_in).repeat(num_out // groups, axis=0)  # [out, in / groups]
    mean_output: Array = (weights.sum(axis=(2, 3)) * inputs).sum(axis=1)
    return mean_output
