"""Biases of quantised convolutions, corrected for the shift of each channel's mean that rounded weights cause.

Most of the error of rounded weights is constant for a channel, over all places and images, so the bias can compensate
it (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from sal_export.precisions.observed_graph import constants_of, observing_session
from sal_runtime.arrays import Float32Array, UInt8Array


def correct_biases(exact: onnx.ModelProto, quantised: onnx.ModelProto, batches: Iterable[UInt8Array]) -> None:
    """Change the float biases of `quantised` so that its convolutions have the same mean outputs as those of `exact`.

    Args:
        exact: the fp32 model, with one input.
        quantised: the same model with Quantize/Dequantize nodes; its convolutions have the same names as in `exact`.
            Changed in place.
        batches: representative inputs, uint8 `[n, H, W, 3]`, all of one size.
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


def _mean_inputs(model: onnx.ModelProto, names: set[str], batches: Iterable[UInt8Array]) -> dict[str, Float32Array]:
    """Means [C] of the channels of activations [B, C, H, W], over all batches and places, by name."""
    ordered = sorted(names)
    axes = numpy_helper.from_array(np.array([0, 2, 3]), "mean_axes")
    means = [helper.make_node("ReduceMean", [name, axes.name], [f"{name}_mean"], keepdims=0) for name in ordered]
    session = observing_session(model, [node.output[0] for node in means], means, [axes])
    by_batch = [session.run(None, {session.get_inputs()[0].name: batch}) for batch in batches]
    by_name = zip(ordered, zip(*by_batch, strict=True), strict=True)
    return {name: np.mean(batch_means, axis=0) for name, batch_means in by_name}


def _mean_output(weights: Float32Array, mean_input: Float32Array) -> Float32Array:
    """Mean output [out] of a convolution [out, in / groups, kH, kW] whose input has the means [in] at every place."""
    num_out, num_in = weights.shape[:2]
    groups = len(mean_input) // num_in
    inputs = mean_input.reshape(groups, num_in).repeat(num_out // groups, axis=0)  # [out, in / groups]
    mean_output: Float32Array = (weights.sum(axis=(2, 3)) * inputs).sum(axis=1)
    return mean_output
