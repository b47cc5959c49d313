"""`sal train`: from a data set and a recipe to a run directory."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import BackendError, ConfigError
from sal_runtime.images.spec import ImageSpec
from sal_runtime.query.statistics import AttributeStatistics
from sal_train import checkpoint, distributed, iteration
from sal_train.checkpoint import Position, load_run
from sal_train.closed_form.linear_generator import fit_linear_encoders, set_linear_encoders
from sal_train.closed_form.linear_query import join_linear_query
from sal_train.config import Config, StageConfig
from sal_train.cpu_memory import keep_freed_memory
from sal_train.datasets.attribute_tree import fit_statistics
from sal_train.datasets.splits import SearchDataset, Split
from sal_train.evaluation.held_out import Partition, own_train_rows, partition, validate
from sal_train.first_weights import first_networks
from sal_train.frozen_trunk import pool_blocks, pool_images, run_frozen_blocks
from sal_train.images.cache import load_images
from sal_train.networks import with_category_statistics
from sal_train.phases import Phase
from sal_train.recipe import config_to_toml
from sal_train.run_directory import check_run_directory, check_same_data, no_empty_run, write_data_manifest
from sal_train.systems import fitting
from sal_train.systems.system import System, TrainingSet
from sal_train.systems.table import system_of
from sal_train.teacher import embed_for_student, open_teachers
from sal_train.training_data import TrainingData, assemble_batch, epoch_batches, prepare_training_data
from sal_train.training_log import TrainingLog, print_start


def train(
    config: Config,
    dataset: SearchDataset,
    out: Path,
    cache_dir: Path,
    resume: bool = False,
    deadline: float | None = None,
) -> bool:
    """Train a model.

    Args:
        config: the resolved recipe.
        dataset: loaded and checked.
        out: the run directory; it must not hold a run unless `resume`.
        cache_dir: keeps decoded images between runs.
        resume: continue the run in `out`. The result equals that of an uninterrupted run. A new run that fails before
            it has a model or a checkpoint leaves nothing in `out`.
        deadline: on the clock of `time.monotonic`, seconds; the run stops after the epoch in which it passes.

    Returns:
        Whether the run is finished; if not, it can be resumed.

    Raises:
        ConfigError: settings contradict each other.
        InputError: `out` already holds a run, or holds none to resume, or one of another configuration.
        BackendError: the requested device is unavailable.
    """
    console = Console(stderr=True)
    device = choose_device(config.run.device, console)
    threads = torch.get_num_threads()
    if device.type == "cpu":
        keep_freed_memory()
    distributed.start_process_group(device)
    try:
        with no_empty_run(out, resume):
            run = _prepare_run(config, dataset, out, cache_dir, resume, device, console)
            with run.log:
                finished = _run_stages(run, deadline)
        fitted = any(stage.linear_generator for stage in config.stages)  # its linear query is part of the solution
        if finished and config.model.linear_query and not fitted and distributed.rank() == 0:
            console.print(join_linear_query(out, run.split, run.part, _inputs_of_saved(run)), highlight=False)
        distributed.barrier()
        return finished
    finally:
        torch.set_num_threads(threads)
        distributed.stop_process_group()


def choose_device(asked: str, console: Console) -> torch.device:
    """The device for `auto`, `cpu` or `cuda[:N]`; `auto` prints its choice.

    Raises:
        BackendError: CUDA is requested and unavailable.
        ConfigError: `asked` is no such device.
    """
    if asked == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        console.print(f"device: {device} (run.device = auto)", highlight=False)
        return device
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"run.device is {asked!r}, expected auto, cpu, cuda or cuda:N", parameter="device")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            f"run.device is {asked}, but PyTorch {torch.__version__} finds no CUDA device; set run.device to cpu",
            parameter="device",
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(
            f"run.device is {asked}, but there are {torch.cuda.device_count()} CUDA devices, from 0; name one of them",
            parameter="device",
        )
    return device


def _position(out: Path) -> Position:
    """Position of the run in `out`."""
    path = out / checkpoint.CHECKPOINT_FILE
    return checkpoint.read_position(path) if path.is_file() else Position()


def _training_data(
    config: Config,
    dataset: SearchDataset,
    statistics: AttributeStatistics,
    part: Partition,
    cache_dir: Path,
    device: torch.device,
) -> TrainingData:
    images = load_images(dataset.train.image_paths, ImageSpec(config.model.height, config.model.width), cache_dir)
    return prepare_training_data(config, dataset, statistics, part, images, device)


def _seed_everything(config: Config) -> None:
    torch.manual_seed(config.run.seed)
    torch.backends.cudnn.deterministic = config.run.deterministic
    torch.backends.cudnn.benchmark = not config.run.deterministic  # shapes never change within a stage


def _statistics(dataset: SearchDataset, part: Partition) -> AttributeStatistics:
    """Statistics of the people to train on, without auxiliary ones."""
    own = own_train_rows(dataset.train, part)
    known = None if dataset.train.unknown is None else dataset.train.known[own]
    return fit_statistics(dataset.schema, dataset.train.attributes[own], known)


@dataclass
class Training:
    """A run in progress: its settings, data and state."""

    config: Config
    system: System
    split: Split
    part: Partition
    data: TrainingData
    state: iteration.TrainState
    out: Path
    cache_dir: Path
    log: TrainingLog
    at: Position


def _prepare_run(
    config: Config,
    dataset: SearchDataset,
    out: Path,
    cache_dir: Path,
    resume: bool,
    device: torch.device,
    console: Console,
) -> Training:
    """Build networks and data, and the run directory; the state is that of a new run, the position that of `out`."""
    check_run_directory(config, out, resume)
    _seed_everything(config)
    part = partition(dataset.train, config.data.validation_fraction, config.data.validation_seed)
    categories = dataset.train.category_vectors[part.train_categories]
    if resume:
        check_same_data(out, dataset, part)
    teachers = open_teachers(config, dataset.schema, categories)
    networks, provenance = first_networks(config, dataset.schema, categories, teachers, console)
    iteration.place_networks(networks, device)
    distributed.broadcast_state(networks)
    statistics = _statistics(dataset, part)
    data = _training_data(config, dataset, statistics, part, cache_dir, device)
    batches = len(epoch_batches(config, data, 0))
    if teachers:
        taught = embed_for_student(teachers, dataset.train, part.train, cache_dir, device, console)
        data = dataclasses.replace(data, taught=taught)
    state = iteration.TrainState(networks, {}, iteration.new_average(networks) if config.optimiser.ema else None)
    if config.run.compile:
        iteration.compile_trunk(networks)
    distributed.barrier()  # every process has checked what it needs; only now the first one writes
    is_first = distributed.rank() == 0
    if is_first:
        out.mkdir(parents=True, exist_ok=True)
        if not resume:
            checkpoint.write_text(out / checkpoint.CONFIG_FILE, config_to_toml(config))
        if not (resume and (out / checkpoint.DATA_FILE).is_file()):
            write_data_manifest(out, config, dataset, statistics, part, provenance)
        print_start(console, config, dataset, part, batches, device)
    at = _position(out) if resume else Position()
    log = TrainingLog(out, config, at.total_epochs, console, active=is_first)
    return Training(config, system_of(config), dataset.train, part, data, state, out, cache_dir, log, at)


def _run_stages(run: Training, deadline: float | None) -> bool:
    """Run the remaining stages, from the checkpoint if there is one; returns whether the run is finished."""
    checkpoint_path = run.out / checkpoint.CHECKPOINT_FILE
    to_restore = run.at.total_epochs > 0
    for number, stage in enumerate(run.config.stages):
        if number < run.at.stage or not (stage.epochs or stage.linear_generator):
            continue
        phases = iteration.stage_phases(stage, run.system.phases)
        for networks in run.state.both:
            iteration.freeze_blocks(networks, stage)
        run.state.optimisers = iteration.build_optimisers(run.state.networks, phases, stage, run.config.optimiser)
        if to_restore:
            checkpoint.restore_checkpoint(checkpoint_path, run.state)
            to_restore = False
        iteration.average_frozen_blocks(run.state, stage)
        run.data = dataclasses.replace(run.data, computed=_computed(run, stage))
        if run.at.total_epochs == 0:
            fitting.prepare(run.system, run.state.both, _training_set(run))
        if stage.linear_generator and not (number == run.at.stage and run.at.epoch):
            _begin_with_linear_generator(run, stage)
        for epoch in range(run.at.epoch if number == run.at.stage else 0, stage.epochs):
            started = time.monotonic()
            terms = _run_epoch(run, stage, phases, epoch)
            run.at = dataclasses.replace(
                run.at,
                stage=number,
                epoch=epoch + 1,
                total_epochs=run.at.total_epochs + 1,
                num_updates=run.state.num_updates,
                train_seconds=run.at.train_seconds + time.monotonic() - started,
            )
            stop = deadline is not None and time.monotonic() > deadline
            _finish_epoch(run, stage, terms, stop)
            if stop:
                return run.at.total_epochs == run.config.epochs
    return True


def _computed(run: Training, stage: StageConfig) -> Tensor | None:
    """What the frozen part of the trunk gives for the images, if the stage has it computed once."""
    backbone, images, console = run.state.networks.image_backbone, run.data.images, run.log.console
    blocks = None
    if stage.cache_frozen:
        blocks = run_frozen_blocks(backbone, images, run.config.run.precision, run.cache_dir, console)
    if not stage.frozen_trunk:
        return blocks
    rows = np.union1d(run.part.train, run.part.validation)
    if blocks is not None:
        return pool_blocks(backbone, blocks, rows, run.cache_dir, console)
    return pool_images(backbone, images, rows, run.cache_dir, console)


def _begin_with_linear_generator(run: Training, stage: StageConfig) -> None:
    """Fit the linear generator to the own training images, and give the networks and their average its encoders."""
    if not stage.frozen_trunk or run.data.computed is None:
        raise ConfigError(f"stage {stage.name!r}: linear_generator is fitted to pooled features; set frozen_trunk too")
    run.at = dataclasses.replace(run.at, best_validation=-1.0)  # models of earlier stages are not what was asked for
    rows = own_train_rows(run.split, run.part)
    features, attributes = run.data.computed[torch.as_tensor(rows), 0], run.data.attributes[torch.as_tensor(rows)]
    size = run.config.model.embedding_dim
    encoders = fit_linear_encoders(features, attributes, run.split.categories[rows], size)
    for networks in run.state.both:
        set_linear_encoders(networks, encoders)


def _inputs(run: Training) -> UInt8Array | Tensor:
    """The training images, or what the frozen part of the trunk gives for them."""
    return run.data.images if run.data.computed is None else run.data.computed[:, 0]


def _inputs_of_saved(run: Training) -> UInt8Array | Tensor:
    """`_inputs` for the saved model: images if the trunk has changed since its epoch."""
    both = (run.state.networks, load_run(run.out).networks)
    frozen = (iteration.frozen_part(networks, run.config.stages[-1]) for networks in both)
    same = all(
        torch.equal(mine.cpu(), theirs)
        for block, other in zip(*frozen, strict=True)
        for mine, theirs in zip(block.state_dict().values(), other.state_dict().values(), strict=True)
    )
    return _inputs(run) if same else run.data.images


def _training_set(run: Training) -> TrainingSet:
    return fitting.training_set(run.split, run.part, run.data, _inputs(run))


def _run_epoch(run: Training, stage: StageConfig, phases: tuple[Phase, ...], epoch: int) -> dict[str, float]:
    """Train one epoch; returns the mean of every loss term. All randomness derives from seed, epoch and process."""
    seed = (run.config.run.seed * 1_000_003 + run.at.total_epochs) * 1_000 + distributed.rank()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    batches = epoch_batches(run.config, run.data, run.at.total_epochs)
    sums: dict[str, float | Tensor] = {}
    for number, rows in enumerate(batches):
        progress = (epoch + (number / len(batches) if stage.schedule == "cosine" else 0.0)) / stage.epochs
        iteration.set_learning_rates(run.state.optimisers, iteration.learning_rate_factor(stage, progress))
        images, batch = assemble_batch(run.config, run.data, rows, generator)
        for name, term in iteration.run_iteration(run.state, phases, images, batch, run.config).items():
            sums[name] = sums[name] + term if name in sums else term
        run.log.iteration(number, len(batches))
    for networks in run.state.both:
        distributed.average_buffers(networks)
    return {name: float(total) / len(batches) for name, total in sums.items()}


def _finish_epoch(run: Training, stage: StageConfig, terms: dict[str, float], stop: bool) -> None:
    """In process 0: validate if due, save the model if it is the best so far, log, write the checkpoint if due."""
    if distributed.rank() == 0:
        deployed = run.state.average if run.state.average is not None else run.state.networks
        if run.config.optimiser.batchnorm_of_categories:
            deployed = with_category_statistics(deployed, run.data.category_vectors)
        last = run.at.total_epochs == run.config.epochs
        held_out = len(run.part.validation) > 0
        metrics: dict[str, float] = {}
        is_due = last or (held_out and run.at.total_epochs % run.config.data.validate_every == 0)
        if is_due:
            deployed = fitting.solved(run.system, deployed, _training_set(run), run.config.system)
        if held_out and is_due:
            with torch.compiler.set_stance("force_eager"):  # compiling for other batch sizes would take longer
                attributes = run.data.attributes.numpy()
                metrics = validate(deployed, run.split, attributes, _inputs(run), run.part.validation)
        improved = metrics.get("validation_mAP", -1.0) > run.at.best_validation
        if improved:
            run.at = dataclasses.replace(run.at, best_validation=metrics["validation_mAP"])
        if improved or (last and not held_out):
            seconds = round(run.at.train_seconds, 1)
            metadata = {"epoch": run.at.total_epochs, "train_seconds": seconds, "validation": metrics}
            deployed = fitting.with_fitted_head(deployed, _training_set(run))
            checkpoint.save_model(run.out / checkpoint.MODEL_FILE, deployed, metadata)
        run.log.epoch(run.at, stage.name, terms, metrics)
        if stop or last or run.at.total_epochs % run.config.run.checkpoint_every == 0:
            checkpoint.save_checkpoint(run.out / checkpoint.CHECKPOINT_FILE, run.state, run.at)
    distributed.barrier()
