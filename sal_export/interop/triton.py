"""A bundle as a model repository of Triton Inference Server: both encoders with their config.pbtxt.

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
"""Not KIND_AUTO: that takes the CPU where there is no GPU, and says nothing."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph, without its batch axis.

    Attributes:
        name: in the graph.
        data_type: Triton's name of it.
        dims: the other axes.
        format: Triton's name of the image layout; empty where it is no image.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    format: str = ""


@dataclass(frozen=True)
class ServedModel:
    """One model of the repository.

    Attributes:
        name: its directory, and what a client asks for.
        artefact: of the bundle, whose file it is.
        input: of the graph.
        output: of the graph.
        max_batch: largest batch that Triton puts together.
        device: cpu or cuda.
        parameters: what a client can check, and what it must know to fill the input.
    """

    name: str
    artefact: Artefact
    input: Tensor
    output: Tensor
    max_batch: int
    device: str
    parameters: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """For the command line."""
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
    """Write the repository; one that this function wrote before is replaced whole.

    Args:
        bundle: opened.
        out: the repository, what `tritonserver --model-repository` takes.
        precision: of the image encoder, exactly.
        max_batch: most crops in one run.
        device: `cpu` or `cuda`, for the image encoder; the attribute encoder costs microseconds and stays on the CPU.

    Returns:
        The models, image encoder first.

    Raises:
        BundleError: the bundle has no image encoder of that precision.
        InputError: something else is at `out`.
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
    prefix = "sal_" + re.sub(r"[^A-Za-z0-9_-]+", "_", bundle.name)
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


def _parameters(bundle: Bundle, artefact: Artefact, more: Mapping[str, str]) -> dict[str, str]:
    known = {
        "bundle": bundle.name,
        "fingerprint": bundle.fingerprint,
        "artefact_sha256": artefact.sha256,
        "precision": artefact.precision,
        **more,
        "licence": str(bundle.manifest["licence"]),
    }
    return {f"sal_{key}": value for key, value in known.items()}


def model_config(model: ServedModel) -> str:
    """The config.pbtxt of a model."""
    lines = [
        f"# Written by sal {__version__}; docs/interop.md explains every line.",
        f"name: {quoted(model.name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {model.max_batch}",
        *_tensor_lines("input", model.input),
        *_tensor_lines("output", model.output),
        "# What is waiting goes together, up to max_batch_size, without a delay: where Triton advises to begin.",
        "dynamic_batching { }",
        "# One copy of the model, on this device and no other.",
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
    """A string literal of protobuf text format: bytes of UTF-8, those that are not plain ASCII as octal escapes."""
    plain = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{plain}"'
