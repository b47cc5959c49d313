"""fp16 by Casts in the fp32 graph: convolutions and what runs on their maps in half precision, all else in fp32.

Normalisation, means, the gates of a network that has any, FC, E_V and L2 norm stay in fp32, and so do input and output:
they are small, or sums of many numbers, for which 11 bits are too few. The fp32 graph has its BatchNorms folded into
the convolutions, whose weights fp16 represents better than variances and small scales.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sal_export.onnx_export import OPSET
from sal_export.precisions.int8 import gates
from sal_export.precisions.observed_graph import constants_of

HALF = ("Conv", "Relu", "Clip", "Add", "Mul", "MaxPool", "Concat")
"""Operators that compute in fp16 on the maps of convolutions. AveragePool is none of them: on an ARM processor that
computes in fp16, ONNX Runtime (1.32) has no kernel for that of opset 19 and refuses the whole graph."""
MAP_TO_MAP = (*HALF, "AveragePool", "InstanceNormalization")
"""Operators whose result on a map is a map again."""


def half_precision(model: bytes) -> bytes:
    """Put the trunk of an image encoder into fp16.

    Args:
        model: content of the fp32 .onnx file.

    Returns:
        The content of the .onnx file: float16 constants and Casts in the trunk, the same input and output.
    """
    changed = onnx.load_from_string(model)
    graph = changed.graph
    halves = half_nodes(graph)
    made_in_half = {name for node in graph.node if node.name in halves for name in node.output}
    constants = constants_of(changed)
    nodes: list[onnx.NodeProto] = []
    casts: set[str] = set()
    for node in graph.node:
        to_half = node.name in halves
        for place, name in enumerate(node.input):
            if name in constants:
                node.input[place] = _half_constant(graph, constants, name) if to_half else name
            elif name and (name in made_in_half) != to_half:
                node.input[place] = _cast(nodes, casts, name, to_half)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.ClearField("value_info")  # they state the types that were
    changed.producer_name = f"sal fp16, opset {OPSET}"
    onnx.checker.check_model(changed, full_check=True)
    return bytes(changed.SerializeToString())


def half_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that compute in fp16: convolutions, and what runs on their maps; no gates."""
    excluded = set(gates(graph))
    maps: set[str] = set()
    halves: set[str] = set()
    for node in graph.node:
        on_map = node.op_type == "Conv" or (node.op_type in MAP_TO_MAP and not maps.isdisjoint(node.input))
        if on_map and node.name not in excluded:
            maps.update(node.output)
            if node.op_type in HALF:
                halves.add(node.name)
    return halves


def _half_constant(graph: onnx.GraphProto, constants: dict[str, TensorProto], name: str) -> str:
    """Name of a float16 copy of a float32 constant, which is made if it is missing; of others their own name."""
    values = numpy_helper.to_array(constants[name])
    if values.dtype != np.float32:
        return name
    half = f"{name}_half"
    if half not in constants:
        constants[half] = numpy_helper.from_array(values.astype(np.float16), half)
        graph.initializer.append(constants[half])
    return half


def _cast(nodes: list[onnx.NodeProto], casts: set[str], name: str, to_half: bool) -> str:
    """Name of a tensor in the other type, with the Cast that makes it appended to the nodes if it is missing."""
    other = f"{name}_{'half' if to_half else 'float'}"
    if other not in casts:
        casts.add(other)
        wanted = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
        nodes.append(helper.make_node("Cast", [name], [other], f"{other}_cast", to=wanted))
    return other
