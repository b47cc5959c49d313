"""The networks a run begins with: published weights, those of another run, or a teacher's attribute branch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from sal_runtime.errors import ConfigError, InputError
from sal_runtime.query.schema import AttributeSchema
from sal_train import distributed
from sal_train.backbones.pretrained import load_pretrained
from sal_train.checkpoint import Run, load_run
from sal_train.config import Config
from sal_train.networks import Networks
from sal_train.teacher import take_attribute_branch


def build_networks(
    config: Config, schema: AttributeSchema, categories: NDArray[np.uint8], teacher: Run | None, console: Console
) -> tuple[Networks, dict[str, Any]]:
    """New networks with published weights, or those of the run that this one starts from.

    Args:
        config: `model` and `run.start_from` are read.
        schema: of the data set.
        categories: attribute vectors of the training categories, [K, A].
        teacher: whose attribute branch and heads are taken.
        console: is told where the weights come from.

    Returns:
        The networks, and where their weights come from, for the run's provenance.

    Raises:
        ConfigError: there are both a run to start from and a teacher.
        InputError: the run to start from has other networks or other training categories.
    """
    networks = Networks(config.model, schema.num_bits, len(categories))
    if config.run.start_from:
        if teacher is not None:
            raise ConfigError(
                "run.start_from and run.teacher: a run begins with the weights of one; leave the other out"
            )
        run = load_run(Path(config.run.start_from))
        same_categories = np.array_equal(run.category_vectors, categories)
        if run.config.model != config.model or not same_categories or run.schema != schema:
            what = "networks" if run.config.model != config.model else "training categories"
            raise InputError(f"run.start_from: {run.path} has other {what}; name a run of the same data and model")
        networks.load_state_dict(run.networks.state_dict())
        if networks.linear_query is not None:  # it is fitted to what this run will become
            networks.set_linear_query(*(torch.zeros_like(part) for part in networks.linear_query.parameters()))
        line = f"weights: those of {run.path}"
        provenance = {"pretrained": run.provenance["pretrained"], "start_from": run.path.name}
    else:
        report = load_pretrained(networks.image_backbone.trunk, config.model.backbone, config.model.weights)
        line, provenance = report.line(), {"pretrained": dataclasses.asdict(report)}
    if teacher is not None:
        take_attribute_branch(networks, teacher.networks)
        line += f"\nattribute branch and heads: those of the teacher, {teacher.path}"
        told = ("dataset", "attribution", "licence", "backbone", "pretrained")
        provenance["teacher"] = {"run": teacher.path.name, **{key: teacher.provenance[key] for key in told}}
    if distributed.rank() == 0:
        console.print(line, highlight=False)
    return networks, provenance
