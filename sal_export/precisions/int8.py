"""int8 by Quantize/Dequantize nodes in the fp32 graph: several calibrations, a layout for each inference library.

Convolutions, their activations and residual additions are quantised, weights symmetrically and per channel. The
normalisation before them, and pooling, FC, E_V and L2 norm after them, stay in fp32: they are cheap and sensitive. So
does the first block, which causes much of the error and is cheap; a depthwise one is even faster in fp32 on a CPU. So
do the gates of a network that has any, and what follows a max pooling.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sal_export.onnx_export import OPSET
from sal_export.precisions.activation_ranges import narrow_ranges
from sal_export.precisions.bias_correction import correct_biases
from sal_runtime.arrays import UInt8Array
from sal_runtime.engines.installed import import_onnxruntime

METHODS = {
    "minmax": "MinMax",
    "percentile": "Percentile",
    "entropy": "Entropy",
    "mse": "MinMax",
}
"""Ways to choose the range of an activation from its values on the calibration crops. Three are ONNX Runtime's; `mse`
narrows the whole range to the one with the least squared error."""
PERCENTILE = 99.99
CALIBRATION_BATCH = 16
QUANTISED = ("Conv", "Relu", "Clip", "Add", "MaxPool")
"""Operators to quantise. With Relu and Clip among them, one quantiser follows the activation function; without, there
would be one before and one after it."""


AVERAGES = ("ReduceMean", "GlobalAveragePool")


@dataclass(frozen=True)
class Layout:
    """Form of an int8 graph for one inference library.

    Attributes:
        name: types of activations and weights.
        activation: type of quantised activations, as ONNX Runtime names it.
        symmetric: use zero point 0, as TensorRT requires; otherwise the range may be asymmetric.
        devices: any of `cpu`, `cuda` and `trt`, which run it well.
    """

    name: str
    activation: Literal["QUInt8", "QInt8"]
    symmetric: bool
    devices: tuple[str, ...]


U8S8 = Layout("u8s8", "QUInt8", symmetric=False, devices=("cpu", "cuda"))
"""For ONNX Runtime, which folds an activation function into the convolution before it only if the output is unsigned;
measured on a CPU, all other layouts are slower than fp32."""
S8S8 = Layout("s8s8", "QInt8", symmetric=True, devices=("trt",))
"""For TensorRT, whose parser takes signed types with zero point 0. Biases stay fp32 in both layouts: TensorRT refuses
int32 biases, and ONNX Runtime quantises them itself."""


def calibration_hash(crops: UInt8Array) -> str:
    """sha256 (hex) of the pixels of calibration crops, uint8 [N, H, W, 3]."""
    return hashlib.sha256(np.ascontiguousarray(crops).tobytes()).hexdigest()


def quantise(model: bytes, crops: UInt8Array, method: str, layout: Layout) -> bytes:
    """Quantise an image encoder to int8.

    Args:
        model: content of the fp32 .onnx file; its input is named `images`.
        crops: to calibrate on, uint8 RGB [N, H, W, 3], N a multiple of `CALIBRATION_BATCH`.
        method: one of `METHODS`.
        layout: `U8S8` or `S8S8`.

    Returns:
        The content of the .onnx file.
    """
    quantization = import_onnxruntime("onnxruntime.quantization")
    exact = averages_as_convolutions(onnx.load_from_string(model))
    batches = np.split(crops, len(crops) // CALIBRATION_BATCH)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder, "int8.onnx")
        quantization.quantize_static(
            onnx.load_from_string(exact.SerializeToString()),  # a copy, because it is changed
            path,
            _Batches(batches),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=[*first_block(exact.graph), *gates(exact.graph), *after_max_pooling(exact.graph)],
            per_channel=True,
            activation_type=quantization.QuantType[layout.activation],
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[METHODS[method]],
            extra_options={
                "ActivationSymmetric": layout.symmetric,
                "QuantizeBias": False,
                "CalibPercentile": PERCENTILE,
                # the calibrator keeps all activations of a stride in memory
                "CalibStridedMinMax": 1,
            },
        )
        quantised = onnx.load(path)
    if method == "mse":
        narrow_ranges(exact, quantised, batches)
    correct_biases(exact, quantised, batches)
    quantised.producer_name = f"sal int8 {layout.name} {method}, opset {OPSET}"
    onnx.checker.check_model(quantised, full_check=True)
    return bytes(quantised.SerializeToString())


def averages_as_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace average pooling by depthwise convolutions of equal weights, which ONNX Runtime computes faster in int8.

    A convolution without padding has the same result. Pooling with padding stays.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in inferred.value_info
    }
    for place, node in enumerate(model.graph.node):
        settings = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if node.op_type != "AveragePool" or any(settings.get("pads", [])) or settings.get("ceil_mode"):
            continue
        groups, kernel = shapes[node.output[0]][1], settings["kernel_shape"]
        weights = np.full((groups, 1, *kernel), 1.0 / np.prod(kernel), dtype=np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, f"{node.name}_weights"))
        model.graph.node[place].CopyFrom(
            helper.make_node(
                "Conv",
                [node.input[0], f"{node.name}_weights"],
                list(node.output),
                node.name,
                group=groups,
                kernel_shape=kernel,
                strides=settings.get("strides", [1, 1]),
            )
        )
    return model


def first_block(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes before the second block: the stem, and if there is one, the first depthwise block."""
    convolutions = [index for index, node in enumerate(graph.node) if node.op_type == "Conv"]
    depthwise = [place for place, index in enumerate(convolutions) if _groups(graph.node[index]) > 1]
    after = convolutions[depthwise[0] + 2 if depthwise else 1 :]
    return [node.name for node in graph.node[: after[0] if after else len(graph.node)]]


def gates(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes between an average over the map and a sigmoid, which weight channels: cheap and sensitive."""
    maker = {output: node for node in graph.node for output in node.output}
    inside: set[str] = set()
    waiting = [node for node in graph.node if node.op_type == "Sigmoid"]
    while waiting:
        node = waiting.pop()
        if node.name not in inside and node.op_type not in AVERAGES:
            inside.add(node.name)
            waiting += [maker[name] for name in node.input if name in maker]
    return [node.name for node in graph.node if node.name in inside]


def after_max_pooling(graph: onnx.GraphProto) -> list[str]:
    """Names of the convolutions of a max pooling's output, which cost little in fp32.

    ONNX Runtime would move their quantiser before the pooling, which is many times slower on 8-bit numbers.
    """
    pooled = {output for node in graph.node if node.op_type == "MaxPool" for output in node.output}
    return [node.name for node in graph.node if node.op_type == "Conv" and node.input[0] in pooled]


def _groups(convolution: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in convolution.attribute if attribute.name == "group"), 1)


class _Batches:
    """Batches of crops, in the form of ONNX Runtime's `CalibrationDataReader`."""

    def __init__(self, batches: list[UInt8Array]) -> None:
        self.batches = batches
        self.set_range(0, len(self.batches))

    def __len__(self) -> int:
        return len(self.batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.waiting = iter(self.batches[start_index:end_index])

    def get_next(self) -> dict[str, UInt8Array] | None:
        batch = next(self.waiting, None)
        return None if batch is None else {"images": batch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONNX Runtime's quantiser, which prints to stdout and logs warnings to the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
