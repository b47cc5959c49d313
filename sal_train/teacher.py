"""A teacher: a finished run whose image embeddings a smaller network learns to reproduce (phase `distil`).

The student keeps the teacher's attribute branch and heads, and with them its common space. It learns from the teacher's
embeddings of the training images (Hinton, Vinyals and Dean, 2015) rather than from their labels, which it would
memorise. Not in the paper.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.spec import ImageSpec
from sal_runtime.query.schema import AttributeSchema
from sal_train.checkpoint import MODEL_FILE, Run, load_finished_run
from sal_train.config import Config
from sal_train.datasets.splits import Split
from sal_train.images.cache import load_images
from sal_train.images.views import compute_views
from sal_train.networks import SearchNetworks

TAKEN = ("attribute_backbone", "E_A", "C_att", "C_cat", "linear_query", "head_scale")
"""Networks that the student takes over. It trains its own image branch; the GANs are not deployed."""
SHARED_SETTINGS = (
    "system",
    "feature_dim",
    "embedding_dim",
    "embedding_output",
    "encoders",
    "linear_query",
    "unit_heads",
)
"""Settings of `model` that shape the attribute branch and the heads."""


def open_teacher(config: Config, schema: AttributeSchema, categories: UInt8Array) -> Run | None:
    """The run that `run.teacher` names, or None if the setting is empty.

    Args:
        config: of the student.
        schema: attributes of the student's data set.
        categories: attribute vectors of the student's training categories, uint8 [K, A].

    Raises:
        InputError: it is not a finished run, or differs in attributes, training categories or embeddings.
    """
    if not config.run.teacher:
        return None
    run = load_finished_run(Path(config.run.teacher))
    for trait, same in (
        ("attributes", run.schema == schema),
        ("training categories", np.array_equal(run.category_vectors, categories)),
        *((f"model.{key}", getattr(run.config.model, key) == getattr(config.model, key)) for key in SHARED_SETTINGS),
    ):
        if not same:
            raise InputError(f"run.teacher: {run.path} has other {trait}; name a run of the same data and embeddings")
    return run


def take_attribute_branch(networks: SearchNetworks, teacher: SearchNetworks) -> None:
    """Give `networks` the teacher's attribute branch, heads and linear query."""
    state = networks.state_dict()
    state |= {name: tensor for name, tensor in teacher.state_dict().items() if name.split(".")[0] in TAKEN}
    networks.load_state_dict(state)


def embed_for_student(
    teacher: Run, split: Split, rows: Int64Array, cache_dir: Path, device: torch.device, console: Console
) -> Tensor:
    """The teacher's embeddings of the images `rows`, each averaged with that of its mirror image; computed once.

    The average ranks better than the embedding of the image alone (docs/results.md). It costs the teacher twice the
    time; the student learns it for free.

    Args:
        teacher: takes the images at its own size.
        split: the training split, N images.
        rows: images to train on.
        cache_dir: folder of decoded images and of the result, whose name depends on weights and images.
        device: runs the teacher.
        console: shows the progress.

    Returns:
        Unit vectors, float32 [N, d] on the CPU; zeros for images not in `rows`.
    """
    size = ImageSpec(teacher.config.model.height, teacher.config.model.width)
    images = load_images(split.image_paths, size, cache_dir)
    weights = (teacher.path / MODEL_FILE).read_bytes()
    networks = teacher.networks.to(device).eval()

    def embed(batch: Tensor) -> Tensor:
        return torch.nn.functional.normalize(networks.embed_images(batch))

    both = compute_views(embed, weights, images, rows, (cache_dir, "taught"), device, console)
    return torch.nn.functional.normalize(both.sum(dim=1))
