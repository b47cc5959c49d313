"""Teachers: finished runs whose image embeddings another network learns to reproduce (phase `distil`).

The student keeps the first teacher's attribute branch and heads, and with them its common space. It learns from the
teachers' embeddings of the training images (Hinton, Vinyals and Dean, 2015) rather than from their labels, which it
would memorise. Those of other teachers are mapped into the common space and averaged with the first's. Not in the
paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn.functional import normalize

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_runtime.errors import ConfigError, InputError
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


def open_teachers(config: Config, schema: AttributeSchema, categories: UInt8Array) -> list[Run]:
    """The runs that `run.teacher` and `run.other_teachers` name, in this order; empty if the settings are.

    Args:
        config: of the student.
        schema: attributes of the student's data set.
        categories: attribute vectors of the student's training categories, uint8 [K, A].

    Raises:
        ConfigError: there are other teachers, but none that gives the common space.
        InputError: one is not a finished run, or differs in attributes or training categories; or the first has other
            embeddings.
    """
    if not config.run.teacher:
        if config.run.other_teachers:
            raise ConfigError("run.other_teachers needs run.teacher, whose common space the student takes")
        return []
    return [
        _open_teacher("run.teacher", config.run.teacher, config, schema, categories, SHARED_SETTINGS),
        *(_open_teacher("run.other_teachers", name, config, schema, categories) for name in config.run.other_teachers),
    ]


def _open_teacher(
    setting: str, name: str, config: Config, schema: AttributeSchema, categories: UInt8Array, shared: Sequence[str] = ()
) -> Run:
    run = load_finished_run(Path(name))
    for trait, same in (
        ("attributes", run.schema == schema),
        ("training categories", np.array_equal(run.category_vectors, categories)),
        *((f"model.{key}", getattr(run.config.model, key) == getattr(config.model, key)) for key in shared),
    ):
        if not same:
            raise InputError(f"{setting}: {run.path} has other {trait}; name a run of the same data and embeddings")
    return run


def take_attribute_branch(networks: SearchNetworks, teacher: SearchNetworks) -> None:
    """Give `networks` the teacher's attribute branch, heads and linear query."""
    state = networks.state_dict()
    state |= {name: tensor for name, tensor in teacher.state_dict().items() if name.split(".")[0] in TAKEN}
    networks.load_state_dict(state)


def embed_for_student(
    teachers: Sequence[Run], split: Split, rows: Int64Array, cache_dir: Path, device: torch.device, console: Console
) -> Tensor:
    """What a student learns to reproduce: the mean of its teachers' embeddings, in the space of the first.

    Each is averaged with that of the mirror image. The averages rank better than one embedding does (docs/results.md),
    and the student learns them for free.

    Args:
        teachers: at least one; each takes the images at its own size.
        split: the training split, N images.
        rows: images to train on.
        cache_dir: folder of decoded images and of each teacher's embeddings, whose name depends on weights and images.
        device: runs the teachers.
        console: shows the progress.

    Returns:
        Unit vectors, float32 [N, d] on the CPU; zeros for images not in `rows`.
    """
    first, *others = (_embed_both_sides(teacher, split, rows, cache_dir, device, console) for teacher in teachers)
    return normalize(first + sum(map_between_spaces(other, first) for other in others))


def _embed_both_sides(
    teacher: Run, split: Split, rows: Int64Array, cache_dir: Path, device: torch.device, console: Console
) -> Tensor:
    size = ImageSpec(teacher.config.model.height, teacher.config.model.width)
    images = load_images(split.image_paths, size, cache_dir)
    weights = (teacher.path / MODEL_FILE).read_bytes()
    networks = teacher.networks.to(device).eval()

    def embed(batch: Tensor) -> Tensor:
        return normalize(networks.embed_images(batch))

    both = compute_views(embed, weights, images, rows, (cache_dir, "taught"), device, console)
    return normalize(both.sum(dim=1))


def map_between_spaces(embeddings: Tensor, target: Tensor) -> Tensor:
    """Embeddings [N, d'] in another common space [N, d], by the linear map that brings them nearest to `target` there.

    Args:
        embeddings: unit vectors of some images, float32.
        target: the same images in the other space, unit vectors float32.

    Returns:
        Unit vectors, float32 [N, d]; zeros where `embeddings` has zeros.
    """
    mapped = torch.linalg.lstsq(embeddings.double(), target.double()).solution  # [d', d]
    return normalize((embeddings.double() @ mapped).float())
