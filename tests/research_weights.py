"""Pretrained networks for tests. The repository has none; tests whose files are missing are skipped.

`$SAL_WEIGHTS` names their folder. If it is not set, the folder `weights` beside that of the research data is searched,
and those beside the checkout.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sal_runtime.arrays import AnyArray
from tests.research_data import BESIDE_THE_CHECKOUT

OSNET_NAME = "person-reidentification-retail-{}"


def find_weights(name: str) -> Path:
    """The file of that name, or a skipped test."""
    named, data = os.environ.get("SAL_WEIGHTS"), os.environ.get("SAL_DATA")
    places = [Path(named)] if named else [BESIDE_THE_CHECKOUT / "weights", BESIDE_THE_CHECKOUT / "shared" / "weights"]
    if data and not named:
        places.insert(0, Path(data).parent / "weights")
    for place in places:
        if (place / name).is_file():
            return place / name
    pytest.skip(f"no pretrained network: set SAL_WEIGHTS to a folder that holds {name}")


def osnet_constants(size: str) -> list[AnyArray]:
    """The floating-point constants of a published OSNet in the order in which its graph runs."""
    tensors = load_file(find_weights(f"{OSNET_NAME.format(size)}.safetensors"))
    rows = json.loads(find_weights(f"{OSNET_NAME.format(size)}.graph.json").read_text())
    return [tensors[entry["w"]] for row in rows for entry in row["i"] if isinstance(entry, dict) and "w" in entry]


def golden_0277() -> dict[str, AnyArray]:
    """Three images in BGR, and what OpenVINO computes from them with the published network 0277."""
    with np.load(find_weights("golden_0277.npz")) as file:
        return dict(file)
