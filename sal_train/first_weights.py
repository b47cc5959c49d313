"""Initial networks of a run: published weights, the weights of another run, or a teacher's attribute branch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import ConfigError, InputError
from sal_runtime.query.schema import AttributeSchema
from sal_train import distributed
from sal_train.backbones.pretrained import load_pretrained
from sal_train.checkpoint import Run, load_finished_run
from sal_train.config import Config
from sal_train.networks import Networks, SearchNetworks
from sal_train.systems.table import build_networks
from sal_train.teacher import take_attribute_branch

ORIGIN = ("dataset", "attribution", "licence", "backbone", "pretrained")
"""What a run says of its teachers."""


def first_networks(
    config: Config, schema: AttributeSchema, categories: UInt8Array, teachers: Sequence[Run], console: Console
) -> tuple[SearchNetworks, dict[str, Any]]:
    """New networks with published weights, or with those of the run that this one starts from.

    Args:
        config: `model` and `run.start_from` are read.
        schema: attributes of the data set.
        categories: attribute vectors of the training categories, uint8 [K, A].
        teachers: the first gives the attribute branch and the heads; may be empty.
        console: prints where the weights come from.

    Returns:
        The networks, and the origin of their weights for the run's provenance.

    Raises:
        ConfigError: both `run.start_from` and a teacher are given.
        InputError: the run to start from has other networks or other training categories.
    """
    networks = build_networks(config, schema, len(categories))
    if config.run.start_from:
        if teachers:
            raise ConfigError("run.start_from and run.teacher exclude each other; leave one of them out")
        run = load_finished_run(Path(config.run.start_from))
        same_categories = np.array_equal(run.category_vectors, categories)
        if run.config.model != config.model or not same_categories or run.schema != schema:
            difference = "networks" if run.config.model != config.model else "training categories"
            raise InputError(f"run.start_from: {run.path} has other {difference}; name one of the same data and model")
        networks.load_state_dict(run.networks.state_dict())
        # it will be fitted to the embeddings of this run
        if isinstance(networks, Networks) and networks.linear_query is not None:
            networks.set_linear_query(*(torch.zeros_like(part) for part in networks.linear_query.parameters()))
        line = f"weights: from {run.path}"
        provenance = {"pretrained": run.provenance["pretrained"], "start_from": run.path.name}
    else:
        report = load_pretrained(networks.image_backbone.trunk, config.model.backbone, config.model.weights)
        line, provenance = report.line(), {"pretrained": dataclasses.asdict(report)}
    if teachers:
        take_attribute_branch(networks, teachers[0].networks)
        line += f"\nattribute branch and heads: from the teacher, {teachers[0].path}"
        provenance["teacher"], *others = (
            {"run": teacher.path.name, **{key: teacher.provenance[key] for key in ORIGIN}} for teacher in teachers
        )
        if others:
            provenance["other_teachers"] = others
    if distributed.rank() == 0:
        console.print(line, highlight=False)
    return networks, provenance
