"""Proof that an engine computes in the requested precision.

Networks are strongly typed: TensorRT may not change the type of a tensor, so the graph determines the precision. Still,
others have shipped engines that were fp16 in name only, so both ends are checked:

* the parsed network, always: the input type of each convolution and matrix product. It is int8 if data and weights come
  from an int8 DequantizeLinear;
* the built engine, if a GPU can load it: the layers that the engine inspector lists. A TensorRT-RTX engine is one
  opaque layer whose kernels the device compiles; there the builder's sum of the weights must not exceed the graph's,
  because weights that were widened to fp32 would be two or four times as large.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from sal_runtime.arrays import Precision
from sal_runtime.engines.tensorrt.library import TensorRT
from sal_runtime.errors import BackendError

LEAST_SHARE: dict[Precision, float] = {"fp32": 1.0, "fp16": 0.5, "int8": 0.5}
"""Share of products that must be in the precision: all of an fp32 encoder's, more than half of an fp16 or int8
encoder's, whose first layer and head may be kept in a higher precision."""
ARITHMETIC_NAMES = ("conv", "gemm", "matmul", "matrixmultiply", "correlation")
"""Parts of the inspector's layer types: CaskConvolution, CaskGemmConvolution, gemm, MatrixMultiply, ..."""
WIDENED = 1.5
"""Largest ratio of engine weights to graph bytes; about 1, but for alignment, if nothing was widened."""


@dataclass(frozen=True)
class PrecisionProof:
    """The precisions that convolutions and matrix products compute in.

    Attributes:
        graph: number of products by precision in the parsed network.
        engine: the same from the engine inspector; None if it was not available.
        weight_bytes: size of the engine's weights as the builder reports it; None if it does not.
        plan_bytes: size of the serialised engine.
    """

    graph: dict[str, int]
    engine: dict[str, int] | None
    weight_bytes: int | None
    plan_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The content of `inspection` in engine.json."""
        return asdict(self)


def check_graph(library: TensorRT, network: Any, precision: Precision | None) -> dict[str, int]:
    """Count the products of a parsed network by precision; None asks for none.

    Raises:
        BackendError: the network is not in the requested precision.
    """
    module = library.module
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    producers = {layer.get_output(number).name: layer for layer in layers for number in range(layer.num_outputs)}
    types = (module.LayerType.CONVOLUTION, module.LayerType.MATRIX_MULTIPLY, module.LayerType.DECONVOLUTION)
    counted = Counter(_graph_precision(module, layer, producers) for layer in layers if layer.type in types)
    _require(counted, precision, "graph", f"export the bundle in {precision}, or ask for the precision it has")
    return dict(counted)


def check_engine(information: str, precision: Precision | None) -> dict[str, int]:
    """Count the products of a built engine by precision.

    Args:
        information: the engine inspector's JSON for the whole engine, with a shape set.
        precision: requested precision; None to count only.

    Raises:
        BackendError: the engine was not built in that precision, or the inspector does not tell.
    """
    layers = [layer for layer in json.loads(information).get("Layers", ()) if isinstance(layer, dict)]
    counted = Counter(
        _engine_precision(layer)
        for layer in layers
        if any(name in str(layer.get("LayerType", "")).lower() for name in ARITHMETIC_NAMES)
    )
    _require(counted, precision, "built engine", "TensorRT has no kernel in that precision here; ask for another one")
    return dict(counted)


def check_weights(weight_bytes: int | None, graph_bytes: int, precision: Precision) -> None:
    """Check that the engine's weights are not much larger than the graph's.

    Raises:
        BackendError: the weights were widened.
    """
    if weight_bytes is not None and weight_bytes > WIDENED * graph_bytes:
        raise BackendError(
            f"asked for {precision}, but the engine's weights take {weight_bytes} bytes and the whole graph "
            f"{graph_bytes}: they were widened; report this with the library's version"
        )


def _require(counted: Counter[str], precision: Precision | None, what: str, remedy: str) -> None:
    if precision is None:
        return
    total = counted.total()
    found = ", ".join(f"{number} {name}" for name, number in counted.most_common()) or "none that can be read"
    share = counted[precision] / total if total else 0.0
    enough = share == 1.0 if LEAST_SHARE[precision] == 1.0 else share > LEAST_SHARE[precision]
    if not enough:
        raise BackendError(
            f"asked for {precision}, but of the {what}'s convolutions and matrix products there are {found}; {remedy}"
        )


def _graph_precision(module: Any, layer: Any, producers: dict[str, Any]) -> str:
    operands = [layer.get_input(number) for number in range(layer.num_inputs)]
    operands = [operand for operand in operands if operand is not None][:2]
    if len(operands) == 2 and all(_is_dequantised(module, operand, producers) for operand in operands):
        return "int8"
    types = {module.DataType.FLOAT: "fp32", module.DataType.HALF: "fp16"}
    return types.get(operands[0].dtype) or str(operands[0].dtype.name).lower()


def _is_dequantised(module: Any, tensor: Any, producers: dict[str, Any]) -> bool:
    """Whether a tensor comes from an int8 DequantizeLinear, directly or through shuffles."""
    layer = producers.get(tensor.name)
    while layer is not None and layer.type in (module.LayerType.SHUFFLE, module.LayerType.IDENTITY):
        layer = producers.get(layer.get_input(0).name)
    return (
        layer is not None
        and layer.type == module.LayerType.DEQUANTIZE
        and layer.get_input(0).dtype == module.DataType.INT8
    )


def _engine_precision(layer: dict[str, Any]) -> str:
    """Precision of the first input; its field is Format/Datatype in TensorRT 10, and DataType in TensorRT 11."""
    inputs = layer.get("Inputs") or [{}]
    stated = inputs[0].get("DataType") or inputs[0].get("Format/Datatype") or layer.get("Weights", {}).get("Type") or ""
    word = str(stated).lower()
    if "bf16" in word or "bfloat" in word:
        return "bf16"
    names = {"int8": "int8", "half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32", "fp8": "fp8"}
    return next((name for part, name in names.items() if part in word), "unknown")
