"""The linear part of a query: what its attributes add up to, fitted in closed form to the embeddings of a trained run.

E_A learns the descriptions of the training categories, and partly by heart; a ridge regression from attributes to image
embeddings cannot, so it carries over better to descriptions that training never had. The query is the sum of both
directions, the gallery stays as it is (not in the paper).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sal_train.checkpoint import MODEL_FILE, load_run, save_model
from sal_train.datasets import Split
from sal_train.evaluation.held_out import Partition, encode_images, own_train_rows, validate

RIDGE = 10.0
"""Penalty on the squared weights, in units of categories: each counts once, however many images it has."""


def fit_linear_query(
    embeddings: Tensor, attributes: NDArray[np.uint8], categories: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Weighted ridge regression of unit embeddings on attribute vectors.

    Args:
        embeddings: unit vectors of the training images, float32 [N, d].
        attributes: of the same images, [N, A].
        categories: of the same images, [N], any numbering.

    Returns:
        Weight float32 [d, A] and bias [d] of the linear layer; an average person gives the zero vector.
    """
    _, inverse, counts = np.unique(categories, return_inverse=True, return_counts=True)
    weight = torch.as_tensor(1.0 / counts[inverse], dtype=torch.float64)[:, None]
    a, e = torch.as_tensor(attributes, dtype=torch.float64), embeddings.double()
    a_mean, e_mean = (weight * a).sum(0) / weight.sum(), (weight * e).sum(0) / weight.sum()
    a, e = a - a_mean, e - e_mean
    penalty = RIDGE * torch.eye(a.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(a.T @ (weight * a) + penalty, a.T @ (weight * e))  # [A, d]
    return solution.T.float().contiguous(), -(a_mean @ solution).float()


def join_linear_query(out: Path, split: Split, part: Partition, images: NDArray[np.uint8] | Tensor) -> str:
    """Fit the linear query of the finished run in `out` to its own embeddings and save the model with it.

    Saving is atomic, and doing it again changes nothing, so a run that was killed here can be resumed.

    Args:
        out: the folder of a run whose networks have `linear_query`.
        split: the training split.
        part: which of its rows were trained on and which held out.
        images: of the split, uint8 RGB [N, H, W, 3]; on the device that shall compute.

    Returns:
        One line for people.
    """
    run = load_run(out)
    networks = run.networks.to(images.device if isinstance(images, Tensor) else "cpu")
    rows = own_train_rows(split, part)  # auxiliary people look different: fitted to them, too, it harms
    embeddings = encode_images(networks, images, rows)
    networks.set_linear_query(*fit_linear_query(embeddings, split.attributes[rows], split.categories[rows]))
    validation = {}
    if len(part.validation):
        result = validate(networks, split, images, part.validation)
        validation = {"validation_mAP": result.mAP, "validation_rank1": result.rank1}
    kept = {key: run.provenance[key] for key in ("epoch", "train_seconds")}
    save_model(out / MODEL_FILE, networks, {**kept, "validation": validation})
    found = "".join(f"  {name.removeprefix('validation_')} {100 * value:.1f}" for name, value in validation.items())
    return f"linear query joined to epoch {kept['epoch']}{found}"
