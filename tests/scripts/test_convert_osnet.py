"""Converting a published OSNet: constants in order, refused graphs, and the command."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from sal_runtime.arrays import AnyArray
from sal_runtime.errors import InputError
from sal_train.backbones.osnet import OSNet
from scripts import convert_osnet
from scripts.convert_osnet import read_constants, trunk_state


def graph_of(constants: list[AnyArray]) -> SimpleNamespace:
    """A graph that adds all constants in turn to its input.

    openvino is not installed for tests: imported beside the server of a collection, it breaks that. These nodes answer
    like its own, with weights kept in float16.
    """

    def node(kind: str, inputs: tuple[Any, ...] = (), data: AnyArray | None = None) -> Any:
        values = [SimpleNamespace(get_node=lambda given=given: given) for given in inputs]
        return SimpleNamespace(
            data=data,
            get_type_name=lambda: kind,
            get_element_type=lambda: SimpleNamespace(is_real=lambda: data is not None and data.dtype.kind == "f"),
            input_values=lambda: values,
            input_value=values.__getitem__,
        )

    last = node("Parameter")
    ordered = [last]
    for constant in constants:
        half = node("Constant", data=constant.astype(np.float16))
        weight = node("Convert", (half,))
        axes = node("Constant", data=np.arange(constant.ndim))
        last = node("ReduceSum", (weight, axes))
        ordered += [half, weight, axes, last]
    return SimpleNamespace(get_ordered_ops=lambda: ordered)


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


def test_the_command_writes_what_the_graph_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = random_constants("osnet_0288")
    monkeypatch.setattr(convert_osnet, "read_published", lambda path: graph_of(constants))
    out = tmp_path / "osnet.safetensors"
    arguments = ["convert_osnet", "person-reidentification-retail-0288.xml", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert convert_osnet.main() == 0
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


def test_openvino_is_needed_to_read_a_published_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match="pip install openvino"):
        read_constants(tmp_path / "x-0277.xml")
