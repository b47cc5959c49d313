"""The run directory before the first epoch: what it must hold or lack, and what describes the run in it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.statistics import AttributeStatistics
from sal_train import checkpoint, distributed
from sal_train.config import Config
from sal_train.datasets.splits import SearchDataset
from sal_train.evaluation.held_out import Partition, own_train_rows
from sal_train.recipe import load_config
from sal_train.training_log import TENSORBOARD_FOLDER


def check_run_directory(config: Config, out: Path, resume: bool) -> None:
    """Refuse a folder that cannot take the run, before anything is computed or written.

    A run to resume also decides the number of threads.

    Raises:
        InputError: `out` holds a run already, none to resume, or one of another recipe; or it is a file.
    """
    config_path = out / checkpoint.CONFIG_FILE
    if resume:
        checkpoint.run_to_resume(out)
        if dataclasses.replace(load_config(str(config_path)), run=config.run) != config:
            raise InputError(
                f"cannot resume: the recipe differs from {config_path}; use that file as the recipe",
                parameter="recipe",
            )
        _take_threads_of_run(out)
    elif config_path.exists():
        raise InputError(f"{out} already holds a run; resume it, or name another folder", parameter="out")
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; name another", parameter="out")


def check_same_data(out: Path, dataset: SearchDataset, part: Partition) -> None:
    """Refuse to go on with a run whose table has changed: its networks and its batches would no longer fit.

    Raises:
        InputError: attributes, training categories or training images are others.
    """
    path = out / checkpoint.DATA_FILE
    if not path.is_file():
        return
    began = json.loads(path.read_text(encoding="utf-8"))
    vectors = dataset.train.category_vectors[part.train_categories].tolist()
    changed = [
        what
        for what, is_same in (
            ("attributes", AttributeSchema.from_json(began["schema"]) == dataset.schema),
            ("training categories", began["category_vectors"] == vectors),
            ("training images", began["provenance"]["train_images"] == len(part.train)),
        )
        if not is_same
    ]
    if changed:
        raise InputError(
            f"cannot resume: the {changed[0]} of {dataset.name} are not those with which {out} began; start a new run",
            parameter="dataset",
        )


@contextmanager
def no_empty_run(out: Path, resume: bool) -> Iterator[None]:
    """Remove what a new run wrote to `out` if it ends before it has a model or a checkpoint.

    So what is refused late, or interrupted early, can be started again as it was.
    """
    missing_folders = [folder for folder in (out, *out.parents) if not folder.exists()]
    run_was_there = (out / checkpoint.CONFIG_FILE).exists()
    try:
        yield
    except BaseException:
        kept = any((out / name).exists() for name in (checkpoint.CHECKPOINT_FILE, checkpoint.MODEL_FILE))
        if distributed.rank() == 0 and out.is_dir() and not (resume or run_was_there or kept):
            for name in (checkpoint.CONFIG_FILE, checkpoint.DATA_FILE, checkpoint.METRICS_FILE):
                (out / name).unlink(missing_ok=True)
            shutil.rmtree(out / TENSORBOARD_FOLDER, ignore_errors=True)
            with suppress(OSError):  # a folder that holds other files stays
                for folder in missing_folders:
                    folder.rmdir()
        raise


def _take_threads_of_run(out: Path) -> None:
    """Use as many threads as the run did: sums on a CPU are split among them, and their last bits depend on it."""
    data = out / checkpoint.DATA_FILE
    if data.is_file():
        provenance = json.loads(data.read_text(encoding="utf-8"))["provenance"]
        torch.set_num_threads(provenance.get("threads", torch.get_num_threads()))


def write_data_manifest(
    out: Path,
    config: Config,
    dataset: SearchDataset,
    statistics: AttributeStatistics,
    part: Partition,
    provenance: dict[str, Any],
) -> None:
    """Write what the data were: words, categories, statistics, what is held out, and where everything came from."""
    split = dataset.train
    own = own_train_rows(split, part)
    counts = np.bincount(split.categories, minlength=int(split.categories.max()) + 1)
    data = {
        "schema": dataset.schema.to_json(),
        "category_vectors": split.category_vectors[part.train_categories].tolist(),
        "category_known": split.category_known[part.train_categories].astype(int).tolist(),
        "category_counts": counts[part.train_categories].tolist(),
        "statistics": statistics.to_json(),
        "held_out_rows": part.validation.tolist(),
        "source": dict(dataset.source),
        "provenance": provenance
        | {
            "dataset": dataset.name,
            "attribution": dataset.attribution,
            "licence": dataset.licence,
            "notes": list(dataset.notes),
            "train_images": len(part.train),
            "auxiliary_images": len(part.train) - len(own),
            "train_categories": len(part.train_categories),
            "held_out_categories": int(split.categories.max()) + 1 - len(part.train_categories),
            "seed": config.run.seed,
            "epochs": config.epochs,
            "backbone": config.model.backbone,
            "processes": distributed.world_size(),
            "threads": torch.get_num_threads(),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": checkpoint.torch_versions(),
        },
    }
    checkpoint.write_text(out / checkpoint.DATA_FILE, json.dumps(data))
