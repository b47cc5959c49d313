"""A complete, valid bundle of a few kilobytes, made with onnx.helper: no torch, no training.

Its image encoder projects the mean colour of a crop, its attribute encoder projects the attribute vector; both then
normalise. So what it embeds is known in closed form: `embed_image`, `embed_attributes`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sal_export.bundle_writing import write_bundle
from sal_runtime.images.spec import ImageSpec
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_train.datasets.attribute_tree import fit_statistics

SCHEMA = AttributeSchema(
    "tiny",
    (
        binary("hat", 0),
        binary("backpack", 1, present_aliases=("rucksack",)),
        binary("gender", 2, absent="male", present="female", sensitive=True),
        exclusive("upper-colour", {"red": 3, "green": 4, "blue": 5}, allow_none=True, aliases=("upper",)),
        exclusive("lower-colour", {"red": 6, "blue": 7}, allow_none=True, aliases=("lower",)),
    ),
)
SPEC = ImageSpec(16, 8)
DIM = 8
_RNG = np.random.default_rng(2020)
IMAGE_WEIGHT = _RNG.standard_normal((3, DIM)).astype(np.float32)
IMAGE_BIAS = _RNG.standard_normal(DIM).astype(np.float32)
ATTRIBUTE_WEIGHT = _RNG.standard_normal((SCHEMA.num_bits, DIM)).astype(np.float32)
ATTRIBUTE_BIAS = _RNG.standard_normal(DIM).astype(np.float32)
HEAD_WEIGHT = _RNG.standard_normal((SCHEMA.num_bits, DIM)).astype(np.float32)


def embed_image(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the tiny image encoder gives: [N, 16, 8, 3] -> [N, 8]."""
    raw = images.astype(np.float32).mean(axis=(1, 2)) / 255.0 @ IMAGE_WEIGHT + IMAGE_BIAS
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), dtype=np.float32)


def embed_attributes(vectors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the tiny attribute encoder gives: [Q, 8] -> [Q, 8]."""
    raw = vectors.astype(np.float32) @ ATTRIBUTE_WEIGHT + ATTRIBUTE_BIAS
    return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), dtype=np.float32)


def make_tiny_bundle(directory: Path, name: str = "tiny", seed: int = 0) -> Path:
    """Write the bundle to `directory`; another `seed` gives another image encoder, hence another fingerprint."""
    rng = np.random.default_rng(7)
    states = np.stack([rng.integers(0, len(group.states), 400) for group in SCHEMA.groups], axis=1)
    vectors = SCHEMA.vectors_from_states(states)
    images = rng.integers(0, 256, (4, SPEC.height, SPEC.width, 3), dtype=np.uint8)
    golden = {
        "images": images,
        "attributes": vectors[:4],
        "image_embeddings": embed_image(images),
        "attribute_embeddings": embed_attributes(vectors[:4]),
    }
    heads = {"weight": HEAD_WEIGHT, "bias": np.zeros(SCHEMA.num_bits, np.float32), "scale": np.float32(4.0)}
    manifest: dict[str, Any] = {
        "name": name,
        "created": "2026-11-23T00:00:00Z",
        "sal_version": "0.1.0",
        "schema": SCHEMA.to_json(),
        "image": SPEC.to_json(),
        "embedding_dim": DIM,
        "statistics": fit_statistics(SCHEMA, vectors).to_json(),
        "calibration": None,
        "artefacts": [
            {"role": "image_encoder", "file": "image_encoder.onnx", "precision": "fp32"},
            {"role": "attribute_encoder", "file": "attribute_encoder.onnx", "precision": "fp32"},
        ],
        "training": {"dataset": "none", "seed": seed},
        "metrics": {},
        "licence": "Apache-2.0",
    }
    files = {
        "image_encoder.onnx": _image_graph(seed),
        "attribute_encoder.onnx": _attribute_graph(),
        "heads.npz": _npz(heads),
        "golden.npz": _npz(golden),
        "MODEL_CARD.md": b"# tiny\n\nFor tests.\n",
    }
    write_bundle(directory, manifest, files)
    return directory


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _image_graph(seed: int) -> bytes:
    weight = IMAGE_WEIGHT if seed == 0 else np.random.default_rng(seed).standard_normal((3, DIM)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["colour"]),
        helper.make_node("MatMul", ["colour", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["embeddings"], axis=1, p=2),
    ]
    constants = {
        "axes": np.array([1, 2], np.int64),
        "full": np.array(255.0, np.float32),
        "weight": weight,
        "bias": IMAGE_BIAS,
    }
    return _model(nodes, ("images", TensorProto.UINT8, ["batch", SPEC.height, SPEC.width, 3]), constants)


def _attribute_graph() -> bytes:
    nodes = [
        helper.make_node("MatMul", ["attributes", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["embeddings"], axis=1, p=2),
    ]
    constants = {"weight": ATTRIBUTE_WEIGHT, "bias": ATTRIBUTE_BIAS}
    return _model(nodes, ("attributes", TensorProto.FLOAT, ["batch", SCHEMA.num_bits]), constants)


def _model(nodes: list[Any], source: tuple[str, int, list[Any]], constants: dict[str, Any]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", DIM])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
