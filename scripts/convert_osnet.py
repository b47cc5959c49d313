"""Convert a published OSNet of Open Model Zoo into weights of the backbone `osnet_*`.

    pip install openvino
    python -m scripts.convert_osnet person-reidentification-retail-0277.xml --out osnet_0277.safetensors

The zoo's `omz_downloader --name person-reidentification-retail-0277` fetches the .xml and its .bin (Apache-2.0, Intel
Corporation; the addresses are in its `model.yml`, too). The setting `model.weights` of a recipe names the result.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sal_runtime.arrays import AnyArray
from sal_runtime.errors import InputError
from sal_runtime.files import whole_file
from sal_train.backbones.osnet import WIDTHS, OSNet

INPUT_CONSTANTS = 2
"""Mean and scale of the input, which `sal_train.backbones.pretrained` states."""


def trunk_state(name: str, constants: Sequence[AnyArray]) -> dict[str, Tensor]:
    """The weights of `OSNet(name)` from the constants of the published graph.

    Args:
        name: a key of `WIDTHS`.
        constants: floating-point constants of the graph in the order in which it runs. The first two normalise the
            input; those after the trunk belong to the re-identification head and are left out.

    Raises:
        InputError: the constants are not those of the network.
    """
    remaining = iter(constants[INPUT_CONSTANTS:])
    trunk = OSNet(name)
    state: dict[str, Tensor] = {}
    for block, parameters in _in_running_order(trunk):
        for parameter in parameters:
            shape = trunk.state_dict()[parameter].shape
            constant = next(remaining, None)
            if constant is None or constant.size != shape.numel():
                got = "nothing" if constant is None else tuple(constant.shape)
                raise InputError(f"{name}: {parameter} needs {tuple(shape)}, the graph has {got} in its place")
            tensor = torch.from_numpy(np.array(constant, dtype=np.float32)).reshape(shape)
            if parameter in state and not torch.equal(state[parameter], tensor):
                raise InputError(f"{name}: the streams of {block} do not share their gate; is it another network?")
            state[parameter] = tensor
    return state


def _in_running_order(trunk: OSNet) -> list[tuple[str, list[str]]]:
    """Names of the parameters as the graph uses them, by block; a shared gate stands behind each of its streams."""
    order: list[tuple[str, list[str]]] = []
    for name, module in trunk.named_modules():
        own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
        parent, _, last = name.rpartition(".")
        if ".gate" in name:
            continue
        if last.isdigit() and parent.endswith(".streams"):
            gate = parent.removesuffix("streams") + "gate"
            inside = [f"{name}.{parameter}" for parameter, _ in module.named_parameters()]
            gates = [f"{gate}.{parameter}" for parameter, _ in trunk.get_submodule(gate).named_parameters()]
            order.append((parent, inside + gates))
        elif own and ".streams." not in name:
            order.append((name, own))
    return order


def read_constants(xml: Path) -> list[AnyArray]:
    """The floating-point constants of a published graph in the order in which it runs.

    Raises:
        InputError: as for `read_published`.
    """
    return [
        constant
        for operation in read_published(xml).get_ordered_ops()
        if operation.get_type_name() != "Convert"
        for value in operation.input_values()
        if (constant := _float_constant(value.get_node())) is not None
    ]


def read_published(xml: Path) -> Any:
    """A published graph as an `openvino.Model`.

    Raises:
        InputError: openvino is not installed, or cannot read the file.
    """
    try:
        import openvino
    except ImportError as error:
        raise InputError("openvino is not installed, and only it reads these files; pip install openvino") from error
    if not xml.with_suffix(".bin").is_file():
        raise InputError(f"{xml.with_suffix('.bin')}: not found; it belongs beside the .xml")
    try:
        return openvino.Core().read_model(xml)
    except RuntimeError as error:
        raise InputError(f"{xml}: openvino cannot read it ({error})") from error


def _float_constant(node: Any) -> AnyArray | None:
    """The values of a node that is a floating-point constant, also of one that is stored as float16 and converted."""
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or not node.get_element_type().is_real():
        return None
    return np.asarray(node.data)


def main() -> int:
    """Write the weights; 0, or 1 with one line if that is impossible."""
    parser = argparse.ArgumentParser(prog="python -m scripts.convert_osnet", description=__doc__.splitlines()[0])
    parser.add_argument("xml", type=Path, help="the published graph; its .bin lies beside it")
    parser.add_argument("--out", type=Path, required=True, help="file of weights to write, .safetensors")
    options = parser.parse_args()
    from safetensors.torch import save_file

    try:
        name = next((name for name in WIDTHS if options.xml.stem.endswith(name.removeprefix("osnet_"))), None)
        if name is None:
            known = ", ".join(name.removeprefix("osnet_") for name in WIDTHS)
            raise InputError(f"{options.xml}: the name ends in none of {known}")
        state = trunk_state(name, read_constants(options.xml))
        with whole_file(options.out) as temporary:
            save_file(state, temporary, metadata={"source": options.xml.name})
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {len(state)} tensors of {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
