"""The linear part of a query: a sum over its attributes, fitted in closed form to the embeddings of a trained run.

E_A partly memorises the descriptions of the training categories. A ridge regression from attributes to image embeddings
cannot, so it generalises better to unseen descriptions. The query is the sum of both directions; the gallery does not
change (not in the paper).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sal_runtime.arrays import AnyArray, Int64Array, UInt8Array
from sal_train.checkpoint import MODEL_FILE, load_run, save_model
from sal_train.datasets.attribute_tree import fill_unknown
from sal_train.datasets.splits import Split
from sal_train.evaluation.held_out import Partition, encode_images, own_train_rows, validate
from sal_train.iteration import freeze_blocks
from sal_train.networks import Networks

FEW_CATEGORIES = 50
"""Held-out categories below which a difference of several points is chance."""
RIDGE = 10.0
"""Penalty on the squared weights, in units of categories; each category counts once, whatever its number of images."""


def fit_linear_query(embeddings: Tensor, attributes: AnyArray, categories: Int64Array) -> tuple[Tensor, Tensor]:
    """Weighted ridge regression of unit embeddings on attribute vectors.

    Args:
        embeddings: unit vectors of the training images, float32 [N, d].
        attributes: of the same images, [N, A]: 0 or 1, or the probability of what is unknown.
        categories: of the same images, int64 [N], any numbering.

    Returns:
        Weight float32 [d, A] and bias float32 [d] of the linear layer; it maps an average person to the zero vector.
    """
    _, inverse, counts = np.unique(categories, return_inverse=True, return_counts=True)
    weight = torch.as_tensor(1.0 / counts[inverse], dtype=torch.float64)[:, None]
    a, e = torch.as_tensor(attributes, dtype=torch.float64), embeddings.double()
    a_mean, e_mean = (weight * a).sum(0) / weight.sum(), (weight * e).sum(0) / weight.sum()
    a, e = a - a_mean, e - e_mean
    penalty = RIDGE * torch.eye(a.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(a.T @ (weight * a) + penalty, a.T @ (weight * e))  # [A, d]
    return solution.T.float().contiguous(), -(a_mean @ solution).float()


def join_linear_query(out: Path, split: Split, part: Partition, images: UInt8Array | Tensor) -> str:
    """Fit the linear query of the finished run in `out` to its own embeddings, and save the model with it.

    The model is replaced whole, and a second fit gives the same result, so a run that was killed here can be resumed.

    Args:
        out: folder of a run whose networks have a `linear_query`.
        split: the training split.
        part: rows of the split that were trained on and held out.
        images: of the split, uint8 RGB [N, H, W, 3], on the device that computes; or what the frozen part of the trunk
            in the last stage gives for them.

    Returns:
        One line for people: what was saved, and the held-out scores without and with the linear query.
    """
    run = load_run(out)
    networks = run.networks.to(images.device if isinstance(images, Tensor) else "cpu")
    freeze_blocks(networks, run.config.stages[-1])
    rows = own_train_rows(split, part)  # auxiliary people look different and would worsen the fit
    embeddings = encode_images(networks, images, rows)
    attributes = fill_unknown(run.statistics, split.attributes, split.known)
    assert isinstance(networks, Networks)
    networks.set_linear_query(*fit_linear_query(embeddings, attributes[rows], split.categories[rows]))
    validation: dict[str, float] = {}
    before = run.provenance.get("validation", {})
    if len(part.validation):
        validation = validate(networks, split, attributes, images, part.validation)
    kept = {key: run.provenance[key] for key in ("epoch", "train_seconds")}
    save_model(out / MODEL_FILE, networks, {**kept, "validation": validation})
    held_out = len(np.unique(split.categories[part.validation]))
    return _explanation(kept["epoch"], before, validation, held_out)


def _explanation(epoch: int, before: Mapping[str, float], after: Mapping[str, float], held_out: int) -> str:
    """The last line of a training: which model was saved, and why its scores differ from those printed before."""
    text = (
        f"saved: the model of epoch {epoch}, with a linear part added to its queries, for descriptions that training "
        "has not seen (model.linear_query = false leaves it out)"
    )
    scores = [
        f"{name.removeprefix('validation_')} {100 * before[name]:.1f} -> {100 * value:.1f}"
        for name, value in after.items()
        if name in before
    ]
    if scores:
        text += f"; {', '.join(scores)} on {held_out} held-out categories"
    if scores and held_out < FEW_CATEGORIES:
        text += ", too few to tell such a difference from chance"
    return text
