"""The files of a run: checkpoint (to resume), model (to use), data manifest. None of them is pickled.

config.toml             the resolved recipe
data.json               data set, schema, training categories, attribute statistics, held-out images
checkpoint.safetensors  networks, moving average, optimisers, position; replaced every `run.checkpoint_every` epochs
model.safetensors       the networks to deploy, of the best validated epoch; the moving average if the run has one
metrics.jsonl           one line per epoch
report.html             whether the model is good (`report/`)
tensorboard/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sal_runtime.arrays import BoolArray, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.files import whole_file
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.config import Config
from sal_train.iteration import TrainState
from sal_train.networks import SearchNetworks
from sal_train.recipe import load_config
from sal_train.systems.table import build_networks

CHECKPOINT_FILE = "checkpoint.safetensors"
MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.toml"
DATA_FILE = "data.json"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Position:
    """Progress of a run: `epoch` epochs of stage `stage` are done."""

    stage: int = 0
    epoch: int = 0
    total_epochs: int = 0
    num_updates: int = 0
    best_validation: float = -1.0
    train_seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """A trained model and the data it was trained on.

    Attributes:
        path: folder of the run.
        config: the resolved recipe.
        schema: attributes of the data set.
        networks: in evaluation mode, on the CPU.
        statistics: how the attributes occur and depend on each other in training.
        category_vectors: attribute vectors of the training categories, uint8 [K, A], in the order of C_cat; 0 where
            unknown.
        category_known: which of these labels are known, bool [K, A].
        category_counts: images of each category, int64 [K].
        provenance: data set, seed, epochs, weights report, licence, ... for manifests and reports.
        epochs_done: epochs that were trained; fewer than `config.epochs` if the run was interrupted.
        is_finished: whether all epochs are done and the linear query, if the recipe has one, is fitted.
    """

    path: Path
    config: Config
    schema: AttributeSchema
    networks: SearchNetworks
    statistics: AttributeStatistics
    category_vectors: UInt8Array
    category_known: BoolArray
    category_counts: Int64Array
    provenance: dict[str, Any]
    epochs_done: int
    is_finished: bool


def write_text(path: Path, text: str) -> None:
    """Write a file so that it appears whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file so that it appears whole or not at all."""
    arrays = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        save_file(arrays, temporary, dict(metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def save_checkpoint(path: Path, state: TrainState, position: Position) -> None:
    """Write everything that resuming needs. Random numbers need no state: they follow from seed and epoch."""
    tensors = {f"networks/{name}": tensor for name, tensor in state.networks.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in state.average.state_dict().items()}
    for network, optimiser in state.optimisers.items():
        for index, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{network}/{index}/{key}": value for key, value in values.items()}
    write_tensors(path, tensors, {"position": json.dumps(asdict(position))})


def read_position(path: Path) -> Position:
    """Position of the run that wrote a checkpoint."""
    _, metadata = read_tensors(path)
    return Position(**json.loads(metadata["position"]))


def restore_checkpoint(path: Path, state: TrainState) -> None:
    """Load a checkpoint into `state`, whose optimisers must be built for the checkpoint's stage."""
    tensors, metadata = read_tensors(path)
    state.networks.load_state_dict(_under(tensors, "networks/"))
    if state.average is not None:
        state.average.load_state_dict(_under(tensors, "average/"))
    state.num_updates = Position(**json.loads(metadata["position"])).num_updates
    for network, optimiser in state.optimisers.items():
        values: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, f"optimiser/{network}/").items():
            index, key = name.split("/")
            values.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": values, "param_groups": optimiser.state_dict()["param_groups"]})
        _lay_out_like_parameters(optimiser)


def _lay_out_like_parameters(optimiser: torch.optim.Optimizer) -> None:
    """Give each moment the memory layout of its parameter: a checkpoint loses it, and fused updates need it."""
    for parameter, moments in optimiser.state.items():
        for key, value in moments.items():
            if value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def save_model(path: Path, networks: SearchNetworks, metadata: Mapping[str, Any]) -> None:
    """Write the networks to deploy, with metadata as JSON."""
    text = {key: json.dumps(value) for key, value in metadata.items()}
    write_tensors(path, networks.state_dict(), text)


def load_run(run: Path) -> Run:
    """Open a training run, finished or still running.

    Raises:
        InputError: the folder is not a run, has no model yet, or holds files that do not fit each other.
    """
    for name in (CONFIG_FILE, DATA_FILE, MODEL_FILE):
        if not (run / name).is_file():
            raise InputError(f"{run}: no {name} here; expected the folder of a finished training run")
    config = load_config(str(run / CONFIG_FILE))
    data = json.loads((run / DATA_FILE).read_text(encoding="utf-8"))
    schema = AttributeSchema.from_json(data["schema"])
    tensors, metadata = read_tensors(run / MODEL_FILE)
    vectors = np.array(data["category_vectors"], dtype=np.uint8)
    known = np.array(data.get("category_known", np.ones_like(vectors)), dtype=np.bool_)  # runs of version 1 know all
    counts = np.array(data["category_counts"], dtype=np.int64)
    networks = build_networks(config, schema, len(vectors))
    try:
        networks.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{run / MODEL_FILE}: does not fit {CONFIG_FILE}: {str(error).splitlines()[0]}") from error
    provenance = data["provenance"] | {key: json.loads(value) for key, value in metadata.items()}
    statistics = AttributeStatistics.from_json(data["statistics"], schema)
    done = _epochs_done(run, config)
    fitted = networks.linear_query is None or bool(networks.linear_query.weight.any())
    finished = done >= config.epochs and fitted
    return Run(run, config, schema, networks.eval(), statistics, vectors, known, counts, provenance, done, finished)


def load_finished_run(run: Path) -> Run:
    """Open a training run from which something is made: a bundle, a student.

    Raises:
        InputError: as `load_run`, or the run was interrupted.
    """
    loaded = load_run(run)
    if not loaded.is_finished:
        raise InputError(
            f"{run}: training is not finished ({loaded.epochs_done} of {loaded.config.epochs} epochs are done); resume "
            "it first",
            parameter="resume",
        )
    return loaded


def _epochs_done(run: Path, config: Config) -> int:
    """Epochs that the log of a run has; all of them where the log was left behind."""
    path = run / METRICS_FILE
    if not path.is_file():
        return config.epochs
    lines = path.read_text(encoding="utf-8").splitlines()
    return int(json.loads(lines[-1])["total_epochs"]) if lines else 0


def run_to_resume(out: Path) -> tuple[Path, dict[str, str]]:
    """What a run was started with, so that it can go on without being told again.

    Returns:
        Its resolved recipe, and the data set that it was trained on: `dataset`, and `data` (the folder of published
        data sets), both absolute; empty where the run does not know.

    Raises:
        InputError: there is no run in `out`.
    """
    recipe, data = out / CONFIG_FILE, out / DATA_FILE
    if not recipe.is_file():
        raise InputError(
            f"{out} holds no run to resume ({CONFIG_FILE} is missing); start the run without resuming",
            parameter="resume",
        )
    source = json.loads(data.read_text(encoding="utf-8")).get("source", {}) if data.is_file() else {}
    return recipe, source


def torch_versions() -> dict[str, str]:
    """PyTorch version and CUDA device, for the provenance of a run."""
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"torch": torch.__version__, "cuda_device": cuda}
