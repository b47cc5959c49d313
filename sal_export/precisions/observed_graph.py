"""What is inside an ONNX graph: its constants, and its activations as outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper
from onnxruntime import InferenceSession


def constants_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The initialisers by name; what is changed in them is changed in the model."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def observing_session(
    model: onnx.ModelProto,
    names: Sequence[str],
    nodes: Sequence[onnx.NodeProto] = (),
    constants: Sequence[onnx.TensorProto] = (),
) -> InferenceSession:
    """A session on the CPU that returns float tensors from inside of a model.

    Args:
        model: is left as it is.
        names: of the tensors, in the order of the outputs.
        nodes: to add behind those of the model; their outputs may be among the names.
        constants: that the added nodes use.
    """
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.node.extend(nodes)
    observed.graph.initializer.extend(constants)
    del observed.graph.output[:]
    observed.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
