"""A small convolutional image encoder in fp32, fp16 and int8, made with onnx.helper, as the exporter lays them out.

uint8 [batch, 32, 16, 3] -> cast -> normalised -> two convolutions -> mean -> product -> unit length [batch, 32].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH, DIM = 32, 16, 32
NUM_PRODUCTS = 3
"""Two convolutions and the matrix product of the Gemm."""
_ACTIVATION_SCALES = {"normalised": 0.03, "first": 0.03, "flat": 0.02}


class _Graph:
    """Nodes and constants, with the precision's way of giving data and weights to a product."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._rng = np.random.default_rng(0)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def data(self, name: str) -> str:
        if self.precision != "int8":
            return name
        scale = self.constant(f"{name}_scale", np.float32(_ACTIVATION_SCALES[name]))
        zero = self.constant(f"{name}_zero", np.int8(0))
        quantised = self.add("QuantizeLinear", [name, scale, zero], f"{name}_quantised")
        return self.add("DequantizeLinear", [quantised, scale, zero], f"{name}_dequantised")

    def weight(self, name: str, *shape: int) -> str:
        value = self._rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        if self.precision != "int8":
            return self.constant(name, value.astype(np.float16 if self.precision == "fp16" else np.float32))
        scales = np.abs(value).reshape(len(value), -1).max(axis=1) / 127
        steps = np.round(value / scales.reshape(-1, *[1] * (value.ndim - 1)))
        parts = [
            self.constant(f"{name}_quantised", steps.astype(np.int8)),
            self.constant(f"{name}_scale", scales.astype(np.float32)),
            self.constant(f"{name}_zero", np.zeros(len(value), np.int8)),
        ]
        return self.add("DequantizeLinear", parts, name, axis=0)

    def bias(self, name: str, length: int) -> str:
        value = 0.1 * self._rng.standard_normal(length)
        return self.constant(name, value.astype(np.float16 if self.precision == "fp16" else np.float32))


def tiny_encoder(precision: str, cast_first: bool = True, output: str = "embeddings") -> bytes:
    """The .onnx file; `cast_first=False` transposes the uint8 images, which TensorRT does not take."""
    graph = _Graph(precision)
    if cast_first:
        graph.add("Cast", ["images"], "floats", to=TensorProto.FLOAT)
        graph.add("Transpose", ["floats"], "pixels", perm=[0, 3, 1, 2])
    else:
        graph.add("Transpose", ["images"], "channels_first", perm=[0, 3, 1, 2])
        graph.add("Cast", ["channels_first"], "pixels", to=TensorProto.FLOAT)
    mean = graph.constant("mean", np.array([120, 110, 100], np.float32).reshape(1, 3, 1, 1))
    std = graph.constant("std", np.full((1, 3, 1, 1), 60, np.float32))
    graph.add("Sub", ["pixels", mean], "centred")
    last = graph.add("Div", ["centred", std], "normalised")
    if precision == "fp16":
        last = graph.add("Cast", [last], "half", to=TensorProto.FLOAT16)
    window: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    graph.add("Conv", [graph.data(last), graph.weight("w1", 64, 3, 3, 3), graph.bias("b1", 64)], "conv1", **window)
    graph.add("Relu", ["conv1"], "first")
    graph.add(
        "Conv", [graph.data("first"), graph.weight("w2", 128, 64, 3, 3), graph.bias("b2", 128)], "conv2", **window
    )
    graph.add("Relu", ["conv2"], "second")
    graph.add("GlobalAveragePool", ["second"], "mean_pixel")
    graph.add("Flatten", ["mean_pixel"], "flat", axis=1)
    operands = [graph.data("flat"), graph.weight("w3", DIM, 128), graph.bias("b3", DIM)]
    last = graph.add("Gemm", operands, "projected", transB=1)
    if precision == "fp16":
        last = graph.add("Cast", [last], "projected_floats", to=TensorProto.FLOAT)
    graph.add("LpNormalization", [last], output, axis=1, p=2)
    return _model(graph, output)


def _model(graph: _Graph, output: str) -> bytes:
    made = helper.make_graph(
        graph.nodes,
        "tiny_encoder",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", DIM])],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
