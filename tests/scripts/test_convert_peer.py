"""Published graphs in ONNX: a small one computed by PyTorch, and graphs that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn import functional

from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import InputError
from scripts import convert_peer
from scripts.convert_peer import Operation, read_operations, to_onnx

GENERATOR = np.random.default_rng(0)
SIZE = (12, 10)
CONSTANTS = {
    "mean#1": np.full((1, 3, 1, 1), 128.0, dtype=np.float32),
    "conv#1": GENERATOR.normal(0, 0.01, (4, 3, 3, 3)).astype(np.float32),
    "bias#1": GENERATOR.normal(size=(1, 4, 1, 1)).astype(np.float32),
    "minus#1": np.array(-1, dtype=np.float32),
    "head#1": GENERATOR.normal(size=(2, 8, 1, 1)).astype(np.float32),
    "other#1": GENERATOR.normal(size=(1, 8, 1, 1)).astype(np.float32),
}
EXPLICIT = {"dilations": [1, 1], "auto_pad": "explicit"}
ROWS: list[dict[str, Any]] = [
    {"t": "Parameter", "n": "0", "i": []},
    {"t": "Subtract", "n": "mean", "i": ["0", {"w": "mean#1"}]},
    {
        "t": "Convolution",
        "n": "conv",
        "i": ["mean", {"w": "conv#1"}],
        "a": {**EXPLICIT, "strides": [2, 1], "pads_begin": [1, 0], "pads_end": [0, 2]},
    },
    {"t": "Add", "n": "bias", "i": ["conv", {"w": "bias#1"}]},
    {"t": "Multiply", "n": "minus", "i": ["bias", {"w": "minus#1"}]},
    {"t": "Concat", "n": "both", "i": ["bias", "minus"], "a": {"axis": 1}},
    {
        "t": "MaxPool",
        "n": "pool",
        "i": ["both"],
        "a": {
            **EXPLICIT,
            "strides": [2, 2],
            "pads_begin": [1, 1],
            "pads_end": [1, 1],
            "kernel": [3, 3],
            "axis": 0,
            "rounding_type": "floor",
        },
    },
    {"t": "Relu", "n": "relu", "i": ["pool"]},
    {
        "t": "Convolution",
        "n": "head",
        "i": ["relu", {"w": "head#1"}],
        "a": {**EXPLICIT, "strides": [1, 1], "pads_begin": [0, 0], "pads_end": [0, 0]},
    },
    {"t": "ReduceMax", "n": "max", "i": ["head", {"c": [2, 3]}], "a": {"keep_dims": True}},
    {"t": "Sigmoid", "n": "453", "i": ["max"]},
    {"t": "Softsign", "n": "other", "i": ["relu"]},
    {"t": "Result", "n": "end", "i": ["453"]},
]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "small.graph.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    save_file(CONSTANTS, tmp_path / "small.safetensors")
    return path


def by_pytorch(images: np.ndarray) -> np.ndarray:
    weights = {name: torch.from_numpy(np.array(value)) for name, value in CONSTANTS.items()}
    bgr = torch.from_numpy(images.copy()).flip(3).permute(0, 3, 1, 2).float()
    padded = functional.pad(bgr - 128, (0, 2, 1, 0))
    x = functional.conv2d(padded, weights["conv#1"], stride=(2, 1)) + weights["bias#1"]
    x = functional.relu(functional.max_pool2d(torch.cat([x, -x], 1), 3, 2, 1))
    return np.asarray(torch.sigmoid(functional.conv2d(x, weights["head#1"]).amax((2, 3))))


def test_a_small_graph_gives_what_pytorch_computes(graph: Path) -> None:
    """It pads unequally, and has an operation without a counterpart that its output does not need."""
    model = to_onnx(read_operations(graph), "453", SIZE, 2)
    images = np.random.default_rng(1).integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
    got = open_backend(model.SerializeToString()).run(images)
    assert got.shape == (5, 2)
    np.testing.assert_allclose(got, by_pytorch(images), atol=1e-5)
    assert got.std() > 0.05


@pytest.mark.parametrize(
    ("output", "changes", "message"),
    [
        ("454", {}, "no operation '454'"),
        ("other", {}, "cannot convert Softsign"),
        ("453", {"auto_pad": "same_upper"}, "conv: cannot convert Convolution"),
    ],
)
def test_other_graphs_are_refused(output: str, changes: dict[str, Any], message: str) -> None:
    operations = [
        Operation(
            row["t"],
            row["n"],
            tuple(given if isinstance(given, str) else np.zeros(1, np.float32) for given in row["i"]),
            row.get("a", {}) | (changes if row["n"] == "conv" else {}),
        )
        for row in ROWS
    ]
    with pytest.raises(InputError, match=message):
        to_onnx(operations, output, SIZE, 2)


def test_a_missing_file_is_named(graph: Path) -> None:
    graph.with_name("small.safetensors").unlink()
    with pytest.raises(InputError, match=r"small\.safetensors: not found"):
        read_operations(graph)


def test_the_published_files_give_the_same_operations(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """openvino is not installed for tests; these nodes answer like its own, with weights kept in float16."""
    nodes: dict[str, Any] = {}

    def node(kind: str, name: str, inputs: list[Any], attributes: dict[str, Any], data: Any = None) -> Any:
        values = [SimpleNamespace(get_node=lambda given=given: given) for given in inputs]
        return SimpleNamespace(
            data=data,
            get_type_name=lambda: kind,
            get_friendly_name=lambda: name,
            get_attributes=lambda: attributes,
            input_values=lambda: values,
            input_value=values.__getitem__,
        )

    ordered = []
    for row in ROWS:
        inputs = []
        for given in row["i"]:
            if isinstance(given, str):
                inputs.append(nodes[given])
            elif "c" in given:
                inputs.append(node("Constant", "axes", [], {}, np.array(given["c"])))
            else:
                half = node("Constant", given["w"], [], {}, CONSTANTS[given["w"]].astype(np.float16))
                inputs.append(node("Convert", given["w"], [half], {}))
        nodes[row["n"]] = node(row["t"], row["n"], inputs, row.get("a", {}))
        ordered += [*(given for given in inputs if given.get_type_name() in ("Constant", "Convert")), nodes[row["n"]]]
    monkeypatch.setattr(convert_peer, "read_published", lambda path: SimpleNamespace(get_ordered_ops=lambda: ordered))
    images = np.random.default_rng(1).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
    model = to_onnx(read_operations(Path("published.xml")), "453", SIZE, 2)
    np.testing.assert_allclose(open_backend(model.SerializeToString()).run(images), by_pytorch(images), atol=0.02)
