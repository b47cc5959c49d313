"""`sal train`: from a data set and a recipe to a run directory."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from sal_runtime.completions import AttributeStatistics
from sal_runtime.errors import BackendError, InputError
from sal_runtime.images import ImageSpec
from sal_train import checkpoint, distributed, engine
from sal_train.augment import augment
from sal_train.checkpoint import Position
from sal_train.config import Config, StageConfig, config_to_toml, load_config
from sal_train.datasets import SearchDataset
from sal_train.held_out import Partition, partition, validate
from sal_train.image_cache import load_images
from sal_train.networks import Networks
from sal_train.phases import Batch
from sal_train.pretrained import load_pretrained
from sal_train.training_log import TrainingLog
from sal_train.unseen import UnseenSampler

RESIDENT_SHARE = 0.5
"""Of the free device memory that the training images may take."""


@dataclass(frozen=True)
class TrainingData:
    """The training images and what is drawn from them.

    Attributes:
        images: uint8 RGB [N, H, W, 3], on the device when they fit there.
        attributes: float [N, A].
        labels: int64 [N], positions in C_cat; -1 for held-out rows.
        category_vectors: float [K, A], on the device.
        prior: float [A], on the device.
    """

    images: NDArray[np.uint8] | Tensor
    attributes: Tensor
    labels: Tensor
    rows: NDArray[np.int64]
    category_vectors: Tensor
    prior: Tensor
    sampler: UnseenSampler
    device: torch.device


def train(config: Config, dataset: SearchDataset, out: Path, cache_dir: Path, resume: bool = False) -> Path:
    """Train a model.

    Args:
        config: the resolved recipe.
        dataset: loaded and checked.
        out: the run directory; must not hold a run unless `resume`.
        cache_dir: where decoded images are kept between runs.
        resume: continue the run in `out`. The result equals that of an uninterrupted run.

    Returns:
        The path of `model.safetensors`.

    Raises:
        InputError: `out` holds a run already, or none to resume, or one of another configuration.
        BackendError: the asked device cannot be had.
    """
    console = Console(stderr=True)
    device = choose_device(config.run.device, console)
    distributed.start_process_group(device)
    try:
        _seed_everything(config)
        _prepare_run_directory(config, out, resume)
        part = partition(dataset.train, config.data.validation_fraction, config.run.seed)
        networks, provenance = _build_networks(config, dataset, len(part.train_categories), console)
        networks.to(device)
        distributed.broadcast_state(networks)
        if not resume and distributed.rank() == 0:
            _write_data_manifest(out, config, dataset, part, provenance)
        images = load_images(dataset.train.image_paths, _image_spec(config), cache_dir)
        data = _training_data(config, dataset, part, images, device)
        return _run_stages(config, dataset, data, part, networks, out, resume, console)
    finally:
        distributed.stop_process_group()


def choose_device(asked: str, console: Console) -> torch.device:
    """The device for `auto`, `cpu` or `cuda[:N]`; `auto` says what it took.

    Raises:
        BackendError: CUDA was asked for and is not there.
    """
    if asked == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        console.print(f"device: {device} (run.device = auto)", highlight=False)
        return device
    device = torch.device(asked)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            f"run.device is {asked}, but PyTorch {torch.__version__} finds no CUDA device; use --set run.device=cpu"
        )
    return device


def _seed_everything(config: Config) -> None:
    torch.manual_seed(config.run.seed)
    if config.run.deterministic:
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def _prepare_run_directory(config: Config, out: Path, resume: bool) -> None:
    """Every process checks; the first one writes."""
    config_path = out / checkpoint.CONFIG_FILE
    if resume:
        if not config_path.is_file():
            raise InputError(f"--resume: {out} holds no run ({checkpoint.CONFIG_FILE} is missing); leave --resume out")
        if dataclasses.replace(load_config(str(config_path)), run=config.run) != config:
            raise InputError(f"--resume: the recipe differs from {config_path}; use that file as --recipe")
    elif config_path.exists():
        raise InputError(f"--out {out} already holds a run; add --resume to continue it, or name another folder")
    distributed.barrier()
    if not resume and distributed.rank() == 0:
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text(config_path, config_to_toml(config))


def _build_networks(
    config: Config, dataset: SearchDataset, num_categories: int, console: Console
) -> tuple[Networks, dict[str, Any]]:
    networks = Networks(config.model, dataset.schema.num_bits, num_categories)
    report = load_pretrained(networks.image_backbone.trunk, config.model.backbone, config.model.weights)
    if distributed.rank() == 0:
        console.print(report.line(), highlight=False)
    return networks, {"pretrained": dataclasses.asdict(report)}


def _image_spec(config: Config) -> ImageSpec:
    return ImageSpec(config.model.height, config.model.width)


def _write_data_manifest(
    out: Path, config: Config, dataset: SearchDataset, part: Partition, provenance: dict[str, Any]
) -> None:
    split = dataset.train
    attributes = split.attributes[part.train]
    counts = np.bincount(split.categories, minlength=int(split.categories.max()) + 1)
    data = {
        "schema": dataset.schema.to_json(),
        "category_vectors": split.category_vectors[part.train_categories].tolist(),
        "category_counts": counts[part.train_categories].tolist(),
        "statistics": AttributeStatistics.fit(dataset.schema, attributes).to_json(),
        "held_out_rows": part.validation.tolist(),
        "provenance": provenance
        | {
            "dataset": dataset.name,
            "attribution": dataset.attribution,
            "licence": dataset.licence,
            "notes": list(dataset.notes),
            "train_images": len(part.train),
            "train_categories": len(part.train_categories),
            "held_out_categories": int(split.categories.max()) + 1 - len(part.train_categories),
            "seed": config.run.seed,
            "epochs": config.epochs,
            "backbone": config.model.backbone,
            "processes": distributed.world_size(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": checkpoint.torch_versions(),
        },
    }
    checkpoint.write_text(out / checkpoint.DATA_FILE, json.dumps(data))


def _training_data(
    config: Config, dataset: SearchDataset, part: Partition, images: NDArray[np.uint8], device: torch.device
) -> TrainingData:
    split = dataset.train
    position = np.full(int(split.categories.max()) + 1, -1, dtype=np.int64)
    position[part.train_categories] = np.arange(len(part.train_categories))
    vectors = torch.as_tensor(split.category_vectors[part.train_categories])
    prior = torch.as_tensor(dataset.prior, dtype=torch.float32)
    return TrainingData(
        images=torch.as_tensor(images).to(device) if _fits(config, images, device) else images,
        attributes=torch.as_tensor(split.attributes).float(),
        labels=torch.as_tensor(position[split.categories]),
        rows=part.train,
        category_vectors=vectors.float().to(device),
        prior=prior.to(device),
        sampler=UnseenSampler(config.unseen, dataset.schema, prior, dataset.one_draw_groups, vectors),
        device=device,
    )


def _fits(config: Config, images: NDArray[np.uint8], device: torch.device) -> bool:
    if config.run.device_resident != "auto":
        return config.run.device_resident == "always"
    return device.type == "cuda" and images.nbytes < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def _run_stages(
    config: Config,
    dataset: SearchDataset,
    data: TrainingData,
    part: Partition,
    networks: Networks,
    out: Path,
    resume: bool,
    console: Console,
) -> Path:
    checkpoint_path = out / checkpoint.CHECKPOINT_FILE
    at = checkpoint.read_position(checkpoint_path) if resume and checkpoint_path.is_file() else Position()
    average = engine.new_average(networks) if config.optimiser.ema else None
    state = engine.TrainState(networks, {}, average)
    compiled = torch.compile(networks.image_backbone.trunk) if config.run.compile else None
    if compiled is not None:
        networks.image_backbone.trunk.forward = compiled  # type: ignore[assignment]
    restored = at.total_epochs == 0
    with TrainingLog(out, config, at.total_epochs, console, active=distributed.rank() == 0) as log:
        for number, stage in enumerate(config.stages):
            if (number, stage.epochs) < (at.stage, at.epoch) or (number < at.stage):
                continue
            phases = engine.stage_phases(stage)
            state.optimisers = engine.build_optimisers(networks, phases, stage, config.optimiser)
            if not restored:
                checkpoint.restore_checkpoint(checkpoint_path, state, restore_optimisers=at.epoch > 0)
                restored = True
            for epoch in range(at.epoch if number == at.stage else 0, stage.epochs):
                started = time.monotonic()
                terms = _run_epoch(config, stage, phases, state, data, epoch, at.total_epochs, log)
                for network in (state.networks, state.average):
                    if network is not None:
                        distributed.average_buffers(network)
                at = dataclasses.replace(
                    at,
                    stage=number,
                    epoch=epoch + 1,
                    total_epochs=at.total_epochs + 1,
                    num_updates=state.num_updates,
                    train_seconds=at.train_seconds + time.monotonic() - started,
                )
                if distributed.rank() == 0:
                    at = _finish_epoch(config, dataset, data, part, state, out, at, stage, terms, log)
                distributed.barrier()
    return out / checkpoint.MODEL_FILE


def _run_epoch(
    config: Config,
    stage: StageConfig,
    phases: tuple[engine.Phase, ...],
    state: engine.TrainState,
    data: TrainingData,
    epoch: int,
    total_epochs: int,
    log: TrainingLog,
) -> dict[str, float]:
    """Train one epoch; returns the mean of every loss term. All randomness follows from seed, epoch and process."""
    seed = (config.run.seed * 1_000_003 + total_epochs) * 1_000 + distributed.rank()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    batches = list(_batches(config, data, total_epochs))
    sums: dict[str, Tensor] = {}
    for iteration, rows in enumerate(batches):
        progress = (epoch + (iteration / len(batches) if stage.schedule == "cosine" else 0.0)) / stage.epochs
        engine.set_learning_rates(state.optimisers, engine.learning_rate_factor(stage, progress))
        images, batch = _assemble(config, data, rows, generator)
        for name, term in engine.run_iteration(state, phases, images, batch, config).items():
            sums[name] = sums.get(name, torch.zeros(())) + torch.as_tensor(term)
        log.iteration(iteration, len(batches))
    return {name: float(total) / len(batches) for name, total in sums.items()}


def _batches(config: Config, data: TrainingData, total_epochs: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers of this process's share of each batch of an epoch; incomplete batches are dropped."""
    rng = np.random.default_rng((config.run.seed, total_epochs))
    if config.data.sampler == "balanced":
        labels = data.labels.numpy()[data.rows]
        weight = 1.0 / np.sqrt(np.bincount(labels))[labels]
        order = rng.choice(data.rows, size=len(data.rows), p=weight / weight.sum())
    else:
        order = rng.permutation(data.rows)
    size = config.data.batch_size
    share = distributed.share_of_batch(size)
    if len(order) < size:
        raise InputError(f"{len(order)} training images are fewer than data.batch_size {size}; make it smaller")
    for start in range(0, len(order) - size + 1, size):
        first = start + distributed.rank() * share
        yield order[first : first + share]


def _assemble(
    config: Config, data: TrainingData, rows: NDArray[np.int64], generator: torch.Generator
) -> tuple[Tensor, Batch]:
    index = torch.as_tensor(rows)
    if isinstance(data.images, Tensor):
        pixels = data.images[index.to(data.device)]
    else:
        pixels = torch.as_tensor(data.images[np.sort(rows)][np.argsort(np.argsort(rows))]).to(data.device)
    attributes = data.attributes[index]
    num_unseen = round(config.unseen.share * len(rows))
    if num_unseen:
        attributes = torch.cat([attributes, data.sampler.sample(num_unseen, generator)])
    noise = torch.randn(len(attributes), config.model.noise_dim, generator=generator)
    batch = Batch(
        attributes=attributes.to(data.device),
        categories=data.labels[index].to(data.device),
        noise=noise.to(data.device),
        category_vectors=data.category_vectors,
        prior=data.prior,
    )
    return augment(pixels, config.data, generator), batch


def _finish_epoch(
    config: Config,
    dataset: SearchDataset,
    data: TrainingData,
    part: Partition,
    state: engine.TrainState,
    out: Path,
    at: Position,
    stage: StageConfig,
    terms: dict[str, float],
    log: TrainingLog,
) -> Position:
    """Validate when it is time, log, save the model if it is the one to use, then the checkpoint."""
    deployed = state.average if state.average is not None else state.networks
    last = at.total_epochs == config.epochs
    metrics: dict[str, float] = {}
    due = last or at.total_epochs % config.data.validate_every == 0
    if len(part.validation) and due:
        result = validate(deployed, dataset.train, data.images, part.validation)
        metrics = {"validation_mAP": result.mAP, "validation_rank1": result.rank1}
    improved = metrics.get("validation_mAP", -1.0) > at.best_validation
    if improved:
        at = dataclasses.replace(at, best_validation=metrics["validation_mAP"])
    if improved or (last and not len(part.validation)):
        provenance = {"epoch": at.total_epochs, "train_seconds": round(at.train_seconds, 1), "validation": metrics}
        checkpoint.save_model(out / checkpoint.MODEL_FILE, deployed, provenance)
    log.epoch(at, stage.name, terms, metrics)
    checkpoint.save_checkpoint(out / checkpoint.CHECKPOINT_FILE, state, at)
    return at
