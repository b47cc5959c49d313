"""Convert the published attribute network that benchmarks/peer_attributes.py measures into ONNX.

    pip install openvino
    python -m scripts.convert_peer person-attributes-recognition-crossroad-0230.xml --out peer.onnx

Open Model Zoo's `omz_downloader --name person-attributes-recognition-crossroad-0230` fetches the .xml and its .bin
(Apache-2.0, Intel Corporation). Instead of the .xml, a list of the same operations can be given, FILE.graph.json with
its constants in FILE.safetensors; openvino is not needed then.

The result takes images as sal's encoders do, uint8 RGB `[N, 160, 80, 3]`, and gives the probabilities of eight
attributes, float32 `[N, 8]`. The network's other outputs, where to read colours, are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sal_runtime.arrays import AnyArray
from sal_runtime.errors import InputError
from sal_runtime.files import whole_file
from scripts.convert_osnet import read_published

HEIGHT, WIDTH = 160, 80
OUTPUT, NUM_ATTRIBUTES = "453", 8
"""The published name of the output with the attributes, and its channels."""
OPSET = 17
SAME = {
    "Add": "Add",
    "Concat": "Concat",
    "Convolution": "Conv",
    "MaxPool": "MaxPool",
    "Multiply": "Mul",
    "ReduceMax": "ReduceMax",
    "Relu": "Relu",
    "Sigmoid": "Sigmoid",
    "Subtract": "Sub",
}
"""OpenVINO's name of an operation and ONNX's name of the same."""


@dataclass(frozen=True)
class Operation:
    """One operation of a published graph.

    Attributes:
        kind: such as `Convolution`; `Parameter` is the input.
        name: of its only output.
        inputs: names of operations, or constants.
        attributes: in OpenVINO's words, such as `pads_begin`.
    """

    kind: str
    name: str
    inputs: tuple[str | AnyArray, ...]
    attributes: Mapping[str, Any]


def to_onnx(
    operations: Iterable[Operation],
    output: str,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    channels: int = NUM_ATTRIBUTES,
) -> onnx.ModelProto:
    """The part of a graph that one output needs, behind a change of the input from RGB pixels to what it expects.

    Args:
        operations: in the order in which they run. The input is float32 BGR `[N, 3, height, width]`, 0..255.
        output: name of the operation that gives `[N, channels, 1, 1]`.
        size: height and width of the images.
        channels: of the output.

    Returns:
        A model from `images`, uint8 RGB `[N, height, width, 3]`, to `probabilities`, float32 `[N, channels]`.

    Raises:
        InputError: an operation is missing or unknown, or pads by itself.
    """
    known = {operation.name: operation for operation in operations}
    nodes: list[onnx.NodeProto] = []
    constants: list[TensorProto] = []
    for operation in _needed(known, output):
        if operation.kind == "Parameter":
            nodes += _input_nodes(operation.name, constants)
        else:
            nodes.append(_node(operation, constants))
    constants.append(numpy_helper.from_array(np.array([0, channels], dtype=np.int64), "output shape"))
    nodes.append(helper.make_node("Reshape", [output, "output shape"], ["probabilities"]))
    graph = helper.make_graph(
        nodes,
        "peer",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *size, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", channels])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def _needed(known: Mapping[str, Operation], output: str) -> list[Operation]:
    """The operations that an output needs, in the order in which they run."""
    needed, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        if name not in known:
            raise InputError(f"the graph has no operation {name!r}; is it the published network?")
        if name not in needed:
            needed.add(name)
            waiting += [given for given in known[name].inputs if isinstance(given, str)]
    return [operation for name, operation in known.items() if name in needed]


def _input_nodes(name: str, constants: list[TensorProto]) -> list[onnx.NodeProto]:
    constants.append(numpy_helper.from_array(np.array([2, 1, 0], dtype=np.int64), "BGR"))
    return [
        helper.make_node("Transpose", ["images"], ["RGB planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["RGB planes", "BGR"], ["BGR planes"], axis=1),
        helper.make_node("Cast", ["BGR planes"], [name], to=TensorProto.FLOAT),
    ]


def _node(operation: Operation, constants: list[TensorProto]) -> onnx.NodeProto:
    """The same operation in ONNX; its constants are added to the list."""
    kind, given, attributes = operation.kind, operation.inputs, operation.attributes
    if kind not in SAME or attributes.get("auto_pad", "explicit") not in ("explicit", "notset"):
        raise InputError(
            f"{operation.name}: cannot convert {kind} with {dict(attributes)}; is it the published network?"
        )
    settings: dict[str, Any] = {}
    if kind in ("Convolution", "MaxPool"):
        settings = {name: attributes[name] for name in ("strides", "dilations")}
        settings["pads"] = [*attributes["pads_begin"], *attributes["pads_end"]]
    if kind == "MaxPool":
        settings |= {"kernel_shape": attributes["kernel"], "ceil_mode": int(attributes["rounding_type"] == "ceil")}
    elif kind == "Concat":
        settings["axis"] = attributes["axis"]
    elif kind == "ReduceMax":
        given, axes = given[:1], given[1]
        settings = {"axes": np.asarray(axes).tolist(), "keepdims": int(attributes["keep_dims"])}
    names = []
    for number, value in enumerate(given):
        if not isinstance(value, str):
            constants.append(numpy_helper.from_array(value, f"{operation.name}#{number}"))
        names.append(value if isinstance(value, str) else constants[-1].name)
    return helper.make_node(SAME[kind], names, [operation.name], operation.name, **settings)


def read_operations(path: Path) -> list[Operation]:
    """The operations of a published .xml, or of a .graph.json with its .safetensors.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    if path.suffix == ".xml":
        return [_from_openvino(node) for node in read_published(path).get_ordered_ops() if not _is_constant(node)]
    from safetensors.numpy import load_file

    tensors = path.with_name(path.name.removesuffix(".graph.json") + ".safetensors")
    missing = [file for file in (path, tensors) if not file.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: not found; expected an .xml with its .bin, or a .graph.json and .safetensors")
    weights = load_file(tensors)

    def value(given: str | dict[str, Any]) -> str | AnyArray:
        if isinstance(given, str):
            return given
        return weights[given["w"]] if "w" in given else np.array(given["c"], dtype=np.int64)

    return [
        Operation(row["t"], row["n"], tuple(value(given) for given in row["i"]), row.get("a", {}))
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]


def _from_openvino(node: Any) -> Operation:
    inputs: Sequence[Any] = [value.get_node() for value in node.input_values()]
    values = tuple(_constant(given) if _is_constant(given) else given.get_friendly_name() for given in inputs)
    return Operation(node.get_type_name(), node.get_friendly_name(), values, node.get_attributes())


def _is_constant(node: Any) -> bool:
    while node.get_type_name() == "Convert":  # weights are kept in float16
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _constant(node: Any) -> AnyArray:
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    data = np.array(node.data)
    return data.astype(np.float32) if data.dtype.kind == "f" else data


def main() -> int:
    """Write the model; 0, or 1 with one line if that is impossible."""
    parser = argparse.ArgumentParser(prog="python -m scripts.convert_peer", description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="the published .xml beside its .bin, or a .graph.json")
    parser.add_argument("--out", type=Path, required=True, help="model to write, .onnx")
    options = parser.parse_args()
    try:
        model = to_onnx(read_operations(options.graph), OUTPUT)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with whole_file(options.out) as temporary:
        onnx.save(model, temporary)
    print(f"{options.out}: {len(model.graph.node)} nodes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
