"""A bundle as a model repository for Triton Inference Server: both encoders with their config.pbtxt.

The configuration is protobuf text of the message ModelConfig:
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sal_export.interop.written_directory import write_directory
from sal_runtime.arrays import Precision
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, Artefact, Bundle
from sal_runtime.encoding.encoders import ATTRIBUTE_BATCH_SIZE
from sal_runtime.version import __version__

COMMAND = "sal bundle triton"
INSTANCE_KINDS = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}
"""Never KIND_AUTO, which silently falls back to the CPU on a machine without a GPU."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        data_type: Triton's name of the type.
        dims: all axes but the batch.
        format: Triton's name of the image layout; empty if it is not an image.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    format: str = ""


@dataclass(frozen=True)
class ServedModel:
    """One model of the repository.

    Attributes:
        name: name of its directory, which clients request.
        artefact: entry of the bundle that has its file.
        input: of the graph.
        output: of the graph.
        max_batch: largest batch that Triton assembles.
        device: `cpu` or `cuda`.
        parameters: facts that a client can check, and needs to fill the input.
    """

    name: str
    artefact: Artefact
    input: Tensor
    output: Tensor
    max_batch: int
    device: str
    parameters: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The model as JSON."""
        return {
            "name": self.name,
            "sha256": self.artefact.sha256,
            "precision": self.artefact.precision,
            "input": [self.input.name, self.input.data_type, [-1, *self.input.dims]],
            "output": [self.output.name, self.output.data_type, [-1, *self.output.dims]],
            "max_batch_size": self.max_batch,
            "device": self.device,
        }


def write_triton_repository(
    bundle: Bundle, out: Path, precision: Precision = "fp32", max_batch: int = 32, device: str = "cpu"
) -> tuple[ServedModel, ...]:
    """Write the repository; a repository that this function wrote before is replaced whole.

    Args:
        bundle: opened.
        out: the repository, for `tritonserver --model-repository`.
        precision: of the image encoder.
        max_batch: most crops in one run.
        device: `cpu` or `cuda`, for the image encoder; the attribute encoder takes microseconds and stays on the CPU.

    Returns:
        The models, image encoder first.

    Raises:
        BundleError: the bundle has no image encoder of that precision.
        InputError: `out` is something that this function did not write.
    """
    models = served_models(bundle, precision, max_batch, device)
    files: dict[str, bytes] = {}
    for model in models:
        files[f"{model.name}/config.pbtxt"] = model_config(model).encode()
        files[f"{model.name}/1/model.onnx"] = bundle.read_bytes(model.artefact.file)
    write_directory(out, COMMAND, bundle, files)
    return models


def served_models(bundle: Bundle, precision: Precision, max_batch: int, device: str) -> tuple[ServedModel, ServedModel]:
    """The image and the attribute encoder as models of a repository; see `write_triton_repository`."""
    prefix = "sal_" + re.sub(r"[^A-Za-z0-9_-]+", "_", bundle.name.removesuffix(".bundle"))
    spec = bundle.image_spec
    output = Tensor("embeddings", "TYPE_FP32", (bundle.embedding_dim,))
    image, attribute = bundle.artefact(IMAGE_ROLE, device=device, precision=precision), bundle.artefact(ATTRIBUTE_ROLE)
    layout = {key: str(value) for key, value in spec.to_json().items()}
    return (
        ServedModel(
            f"{prefix}_image_encoder",
            image,
            Tensor("images", "TYPE_UINT8", (spec.height, spec.width, 3), "FORMAT_NHWC"),
            output,
            max_batch,
            device,
            _parameters(bundle, image, {key: layout[key] for key in ("colour", "layout", "resize")}),
        ),
        ServedModel(
            f"{prefix}_attribute_encoder",
            attribute,
            Tensor("attributes", "TYPE_FP32", (bundle.schema.num_bits,)),
            output,
            ATTRIBUTE_BATCH_SIZE,
            "cpu",
            _parameters(bundle, attribute, {"attributes": ",".join(bundle.schema.bit_names)}),
        ),
    )


def _parameters(bundle: Bundle, artefact: Artefact, input_facts: Mapping[str, str]) -> dict[str, str]:
    facts = {
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "artefact_sha256": artefact.sha256,
        "precision": artefact.precision,
        **input_facts,
        "licence": str(bundle.manifest["licence"]),
    }
    return {f"sal_{key}": value for key, value in facts.items()}


def model_config(model: ServedModel) -> str:
    """The config.pbtxt of a model."""
    lines = [
        f"# Written by sal {__version__}; docs/interop.md explains every line.",
        f"name: {quoted(model.name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {model.max_batch}",
        *_tensor_lines("input", model.input),
        *_tensor_lines("output", model.output),
        "# Batches of the waiting requests, up to max_batch_size, without a delay: Triton's advice to start with.",
        "dynamic_batching { }",
        "# One copy of the model, on this device only.",
        "instance_group [",
        f"  {{ count: 1 kind: {INSTANCE_KINDS[model.device]} }}",
        "]",
    ]
    for key, value in model.parameters.items():
        lines.append(f"parameters {{ key: {quoted(key)} value {{ string_value: {quoted(value)} }} }}")
    return "\n".join(lines) + "\n"


def _tensor_lines(field: str, tensor: Tensor) -> Sequence[str]:
    image_format = f" format: {tensor.format}" if tensor.format else ""
    dims = ", ".join(map(str, tensor.dims))
    return (
        f"{field} [",
        f"  {{ name: {quoted(tensor.name)} data_type: {tensor.data_type}{image_format} dims: [ {dims} ] }}",
        "]",
    )


def quoted(text: str) -> str:
    """A string literal of protobuf text format: UTF-8, with octal escapes for bytes that are not printable ASCII."""
    plain = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{plain}"'
