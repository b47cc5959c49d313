"""The inside of an ONNX graph: its constants, and its activations as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

from sal_runtime.engines.installed import import_onnxruntime


def constants_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The initialisers of a model by name; changing one changes the model."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def observing_session(
    model: onnx.ModelProto,
    names: Sequence[str],
    nodes: Sequence[onnx.NodeProto] = (),
    constants: Sequence[onnx.TensorProto] = (),
) -> Any:
    """An InferenceSession on the CPU that returns float tensors from the inside of a model.

    Args:
        model: not changed.
        names: names of the tensors, in the order of the outputs.
        nodes: to append to those of the model; `names` may include their outputs.
        constants: used by the appended nodes.
    """
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.node.extend(nodes)
    observed.graph.initializer.extend(constants)
    del observed.graph.output[:]
    observed.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return import_onnxruntime().InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
