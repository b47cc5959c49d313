"""Export of a PyTorch module to one .onnx file with a free batch axis."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from sal_runtime.engines.installed import forbid_telemetry
from sal_runtime.errors import ParityError

OPSET = 20
MAX_BATCH = 65_536
OUTPUT = "embeddings"
TINY = 1e-13
"""Weights of a smaller size become zero. Weight decay leaves some of 1e-30 in channels that died in training; products
of such weights are subnormal numbers, with which an Intel CPU computes a dozen times slower. The 1e-12 that keeps a
division by a length from one by zero stays."""


def export_onnx(module: nn.Module, example: Tensor, input_name: str) -> bytes:
    """Export a module with one input and one output, both with a free first axis named "batch".

    Args:
        module: on the CPU; put into evaluation mode.
        example: an input with two rows.
        input_name: name of the input in the graph; the output is named `embeddings`.

    Returns:
        The content of the .onnx file, weights included.

    Raises:
        ParityError: the graph has a fixed batch, other names, or a BatchNorm that was not folded.
    """
    forbid_telemetry()  # the exporter may import ONNX Runtime
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # the exporter's warnings are about its own internals
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=[input_name],
            output_names=[OUTPUT],
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        path = Path(folder, "model.onnx")
        if program is None:
            raise ParityError("the ONNX exporter returned nothing")
        program.save(str(path), external_data=False)
        model = onnx.load(path)
    strip_source_locations(model)
    zero_tiny_weights(model)
    check_graph(model, input_name)
    return bytes(model.SerializeToString())


def strip_source_locations(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on the source code, which contain file paths of this machine."""
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    for function in model.functions:
        function.ClearField("metadata_props")


def zero_tiny_weights(model: onnx.ModelProto) -> None:
    """Set float weights of a size below `TINY` to zero."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weights = numpy_helper.to_array(tensor)
            is_tiny = (np.abs(weights) < TINY) & (weights != 0)
            if is_tiny.any():
                tensor.CopyFrom(numpy_helper.from_array(np.where(is_tiny, np.float32(0), weights), tensor.name))


def check_graph(model: onnx.ModelProto, input_name: str) -> None:
    """Check names, the free batch axis, the absence of BatchNorms, and the validity of the model.

    Raises:
        ParityError: one of the first three does not hold.
        onnx.checker.ValidationError: the model is not valid ONNX.
    """
    onnx.checker.check_model(model, full_check=True)
    names = ([value.name for value in model.graph.input], [value.name for value in model.graph.output])
    if names != ([input_name], [OUTPUT]):
        raise ParityError(f"the exported graph has inputs and outputs {names}, expected {input_name!r} and {OUTPUT!r}")
    for value in (model.graph.input[0], model.graph.output[0]):
        axis = value.type.tensor_type.shape.dim[0]
        if not axis.dim_param:
            raise ParityError(f"the batch axis of {value.name} was fixed to {axis.dim_value} by the exporter")
    norms = [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    if norms:
        raise ParityError(f"{len(norms)} BatchNorms were not folded into their layers, the first is {norms[0]}")
