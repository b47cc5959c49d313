"""A finished run, searched with the full description of each category; programs that measure such runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from sal_cli.bench.record import commit
from sal_runtime.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from sal_runtime.doctor.machine import command_line, machine, versions
from sal_runtime.errors import InputError
from sal_runtime.files import cache_folder, whole_file
from sal_runtime.images.spec import ImageSpec
from sal_train.checkpoint import Run, load_run
from sal_train.datasets.load import load_dataset
from sal_train.datasets.splits import SearchDataset, Split
from sal_train.evaluation.held_out import compare, encode_attributes, encode_images, partition
from sal_train.frozen_trunk import pool_images
from sal_train.images.cache import load_images
from sal_train.images.views import BOTH


@dataclass(frozen=True)
class RankedRun:
    """Queries, images, and the scores by which they are ranked.

    Attributes:
        split: the split that holds the images.
        rows: of the images in the split, int64 `[N]`.
        pooled: what the encoder took: images of the whole split, or their pooled features float32 `[split, channels]`.
        embeddings: of the images, unit vectors float32 `[N, d]`.
        vectors: the queries, uint8 `[Q, A]`.
        queries: their embeddings, unit vectors float32 `[Q, d]`.
        categories: of the images, int64 `[N]`, the row of their query.
        seen: bool `[Q]`, whether the category occurs in training.
        scores: cosines, or what a pairwise system gives, float32 `[Q, N]`.
    """

    split: Split
    rows: Int64Array
    pooled: UInt8Array | Tensor
    embeddings: Float32Array
    vectors: UInt8Array
    queries: Float32Array
    categories: Int64Array
    seen: BoolArray
    scores: Float32Array

    @property
    def relevance(self) -> BoolArray:
        """Whether an image is of the query's category, bool `[Q, N]`."""
        return np.equal.outer(np.arange(len(self.queries)), self.categories)


def rank_run(run: Run, dataset: SearchDataset, cache: Path, device: torch.device, held_out: bool) -> RankedRun:
    """Encode a protocol with a run.

    Args:
        run: trained on this data set.
        dataset: whose images are searched.
        cache: folder of decoded images and pooled features, those that training uses.
        device: runs the networks.
        held_out: search the training categories that the run held out, instead of the test split.

    Raises:
        InputError: the run held none out.
    """
    split, seen = dataset.test, dataset.seen
    rows = np.arange(len(split.categories))
    if held_out:
        split, data = dataset.train, run.config.data
        rows = partition(split, data.validation_fraction, data.validation_seed).validation
        if not len(rows):
            raise InputError(f"{run.path.name} held no categories out; it can be measured on the test split only")
    networks = run.networks.to(device)
    images: UInt8Array | Tensor
    images = load_images(split.image_paths, ImageSpec(run.config.model.height, run.config.model.width), cache)
    if all(stage.frozen_trunk and not stage.cache_frozen for stage in run.config.stages if stage.epochs):
        everything, console = np.arange(len(images)), Console(stderr=True)
        flips = BOTH if held_out else (False,)  # of training images, both are there already
        images = pool_images(networks.image_backbone, images, everything, cache, console, flips)[:, 0]
    queried, categories = np.unique(split.categories[rows], return_inverse=True)
    vectors = split.category_vectors[queried]
    embeddings, queries = encode_images(networks, images, rows), encode_attributes(networks, vectors)
    return RankedRun(
        split=split,
        rows=rows,
        pooled=images,
        embeddings=embeddings.numpy(),
        vectors=vectors,
        queries=queries.numpy(),
        categories=categories.astype(np.int64),
        seen=np.zeros(len(queried), dtype=bool) if held_out else seen,
        scores=compare(networks, queries, embeddings).numpy(),
    )


def measure_runs(
    program: str,
    description: str | None,
    measure: Callable[[Sequence[Path], SearchDataset, Path], Mapping[str, Any]],
) -> int:
    """The command line of a program that measures runs of one data set, and writes a JSON file.

    Args:
        program: its module.
        description: for `--help`.
        measure: folders of the runs, the data set and the cache -> parts of the document.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders of finished runs of one data set")
    parser.add_argument("--data", type=Path, required=True, help="folder with Market-1501 and PETA")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="folder of decoded images and features")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    dataset = load_dataset(load_run(options.runs[0]).provenance["dataset"], options.data)
    document = {
        "runs": [folder.name for folder in options.runs],
        "dataset": dataset.name,
        "command": command_line(("python", "-m", program, *sys.argv[1:])),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        **measure(options.runs, dataset, options.cache),
    }
    with whole_file(options.out) as file:
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0
