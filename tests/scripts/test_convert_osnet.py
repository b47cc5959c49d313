"""Converting a published OSNet: constants in order, refused graphs, and the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13
from safetensors.torch import load_file

from sal_runtime.arrays import AnyArray
from sal_runtime.errors import InputError
from sal_train.backbones.osnet import OSNet
from scripts.convert_osnet import read_constants, trunk_state


def graph_of(constants: list[AnyArray], folder: Path, name: str) -> Path:
    """A graph that adds all constants in turn to its input, with weights in float16 as the published ones."""
    image = opset13.parameter([1, 3, 8, 4], np.float32)
    node = image
    for constant in constants:
        shift = opset13.reduce_sum(opset13.constant(constant), np.arange(constant.ndim), False)
        node = opset13.add(node, shift)
    path = folder / f"{name}.xml"
    openvino.save_model(openvino.Model([node], [image], "graph"), path, compress_to_fp16=True)
    return path


def random_constants(name: str) -> list[AnyArray]:
    """Constants in the order of the published graph: a shared gate is repeated behind each of the four streams."""
    rng = np.random.default_rng(0)
    constants: list[AnyArray] = [rng.random((1, 3, 1, 1)), rng.random((1, 3, 1, 1))]
    trunk = OSNet(name)
    for block in trunk.sequence():
        own = dict(block.named_parameters())
        gate = [rng.random(tuple(tensor.shape)) for key, tensor in own.items() if key.startswith("gate.")]
        number = 0
        for key, tensor in own.items():
            if key.startswith("gate."):
                continue
            if key.startswith("streams.") and int(key.split(".")[1]) != number:
                constants += gate
                number += 1
            elif key.startswith("expand."):
                constants += gate if number == 3 else []
                number = 4
            constants.append(rng.random(tuple(tensor.shape)))
    return [constant.astype(np.float16).astype(np.float32) for constant in constants]


def test_the_command_writes_what_the_graph_holds(tmp_path: Path) -> None:
    constants = random_constants("osnet_0288")
    path = graph_of(constants, tmp_path, "person-reidentification-retail-0288")
    out = tmp_path / "osnet.safetensors"
    command = [sys.executable, "-m", "scripts.convert_osnet", str(path), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    state = load_file(out)
    OSNet("osnet_0288").load_state_dict(state)
    assert np.array_equal(state["input_norm.weight"].numpy(), constants[2].reshape(3))
    assert np.array_equal(state["stem.0.weight"].numpy(), constants[4])
    last = [constant for constant in constants if constant.size == 128][-1]
    assert np.array_equal(state["parts.10.0.bias"].numpy(), last)


def test_gates_that_differ_are_refused() -> None:
    constants = random_constants("osnet_0288")
    gates = [number for number, constant in enumerate(constants) if constant.shape == (1, 16, 1, 1)]
    constants[gates[-1]] = constants[gates[-1]] + 1
    with pytest.raises(InputError, match="do not share their gate"):
        trunk_state("osnet_0288", constants)


def test_constants_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"osnet_0277: stem\.0\.weight needs \(64, 3, 7, 7\), the graph has"):
        trunk_state("osnet_0277", random_constants("osnet_0288"))
    with pytest.raises(InputError, match="the graph has nothing"):
        trunk_state("osnet_0288", random_constants("osnet_0288")[:-1])


def test_the_constants_file_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "x-0277.xml").write_text("<net/>")
    with pytest.raises(InputError, match=r"x-0277\.bin: not found"):
        read_constants(tmp_path / "x-0277.xml")
