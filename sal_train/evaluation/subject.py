"""The subject of an evaluation: one interface for runs and bundles, and images encoded by them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from sal_runtime.arrays import AnyArray, BoolArray, Float32Array, Precision, UInt8Array
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.encoding.encoders import AttributeEncoder, ImageEncoder
from sal_runtime.errors import BackendError, InputError
from sal_runtime.images.spec import ImageSpec
from sal_runtime.matching.scoring import EncodeAttributes
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.checkpoint import CONFIG_FILE, Run
from sal_train.datasets.splits import Labels
from sal_train.evaluation.held_out import compare, encode_attributes
from sal_train.frozen_trunk import pool_images
from sal_train.images.cache import load_images

ENCODE_BATCH = 128


@dataclass(frozen=True)
class Subject:
    """A model to evaluate.

    Attributes:
        identity: for the report: kind, name of the folder or file (`path`), fingerprint of the bundle or hash of the
            run's recipe.
        schema: attributes of the model.
        statistics: of the attributes in training.
        image_spec: size of its images.
        encode_attributes: attribute vectors uint8 `[Q, A]` -> unit embeddings float32 `[Q, d]`.
        encode_images: images uint8 `[n, H, W, 3]` -> unit embeddings float32 `[n, d]` and the logits of the attribute
            head float32 `[n, A]`.
        compare: of a pairwise run, whose embeddings are no unit vectors: those of queries `[Q, d]` and of images
            `[N, d]` -> scores float32 `[Q, N]`. None: the cosine.
        calibration: of a bundle; None for a run.
        pool: for a run with a frozen trunk: images uint8 `[N, H, W, 3]`, the folder of cached features, a console for
            the progress, and whether to mirror the images -> their pooled features, float32 `[N, channels]`, which
            `encode_images` takes in place of images.
    """

    identity: dict[str, Any]
    schema: AttributeSchema
    statistics: AttributeStatistics
    image_spec: ImageSpec
    encode_attributes: EncodeAttributes
    encode_images: Callable[[AnyArray], tuple[Float32Array, Float32Array]]
    calibration: Calibration | None = None
    pool: Callable[[UInt8Array, Path, Console, bool], Float32Array] | None = None
    compare: Callable[[Float32Array, Float32Array], Float32Array] | None = None

    def scores(self, queries: Float32Array, images: Float32Array) -> Float32Array:
        """By which embedded images `[N, d]` are ranked for embedded queries `[Q, d]`: `[Q, N]`, higher is better."""
        return np.asarray(queries @ images.T) if self.compare is None else self.compare(queries, images)


@dataclass(frozen=True)
class LabelledEmbeddings:
    """A gallery, encoded by a subject.

    Attributes:
        embeddings: unit vectors float32 `[N, d]`.
        logits: of the attribute head, float32 `[N, A]`.
        labels: of the images.
    """

    embeddings: Float32Array
    logits: Float32Array
    labels: Labels

    def rows(self, chosen: BoolArray) -> LabelledEmbeddings:
        """Some of the images, bool `[N]`."""
        return LabelledEmbeddings(self.embeddings[chosen], self.logits[chosen], self.labels.rows(chosen))


def run_subject(run: Run, device: str) -> Subject:
    """A training run, computed by PyTorch on `device` (`cpu` or `cuda`).

    Raises:
        BackendError: the device is unavailable, or PyTorch does not know it.
    """
    if device not in ("cpu", "cuda"):
        raise BackendError(
            f"device {device}: PyTorch computes a run on cpu or cuda; export the run for other devices",
            parameter="device",
        )
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            f"device {device}: PyTorch {torch.__version__} finds no CUDA device; use cpu", parameter="device"
        )
    networks = run.networks.to(device)

    @torch.no_grad()
    def encode_images(images: AnyArray) -> tuple[Float32Array, Float32Array]:
        embedding = networks.embed_images(torch.tensor(images, device=device))
        return networks.comparable(embedding).cpu().numpy(), networks.attribute_logits(embedding).cpu().numpy()

    def compare_pairs(queries: Float32Array, images: Float32Array) -> Float32Array:
        return compare(networks, torch.as_tensor(queries), torch.as_tensor(images)).numpy()

    def pool(images: UInt8Array, cache_dir: Path, console: Console, mirrored: bool) -> Float32Array:
        rows = np.arange(len(images))
        return pool_images(networks.image_backbone, images, rows, cache_dir, console, (mirrored,))[:, 0].numpy()

    recipe = hashlib.sha256((run.path / CONFIG_FILE).read_bytes()).hexdigest()
    return Subject(
        identity={
            "kind": "run",
            "path": run.path.name,
            "config_sha256": recipe,
            "epochs_done": run.epochs_done,
            "is_finished": run.is_finished,
            "provenance": run.provenance,
        },
        schema=run.schema,
        statistics=run.statistics,
        image_spec=ImageSpec(run.config.model.height, run.config.model.width),
        encode_attributes=lambda vectors: encode_attributes(networks, vectors).numpy(),
        encode_images=encode_images,
        pool=pool if all(stage.frozen_trunk for stage in run.config.stages) else None,
        compare=compare_pairs if networks.is_pairwise else None,
    )


def bundle_subject(bundle: Bundle, device: str, precision: Precision = "fp32") -> Subject:
    """A bundle, whose exported encoders ONNX Runtime or TensorRT computes.

    Raises:
        BackendError: the device or the precision is unavailable.
    """
    images_encoder = ImageEncoder(bundle, device=device, precision=precision)
    attribute_encoder = AttributeEncoder(bundle)
    weight, bias = bundle.attribute_head

    def encode_images(images: AnyArray) -> tuple[Float32Array, Float32Array]:
        embeddings = images_encoder.encode(images)
        return embeddings, embeddings @ weight.T + bias

    return Subject(
        identity={
            "kind": "bundle",
            "path": bundle.path.name,
            "name": bundle.name,
            "fingerprint": bundle.fingerprint,
            "precision": precision,
            "device": images_encoder.choice.device,
        },
        schema=bundle.schema,
        statistics=bundle.statistics,
        image_spec=bundle.image_spec,
        encode_attributes=attribute_encoder.encode,
        encode_images=encode_images,
        calibration=bundle.calibration,
    )


def encode_labelled(
    subject: Subject,
    image_paths: Sequence[Path],
    labels: Labels,
    cache_dir: Path,
    console: Console,
    mirrored: bool = False,
) -> LabelledEmbeddings:
    """Decode images (once, into the cache) and encode them.

    Args:
        subject: encodes the images.
        image_paths: N files.
        labels: of the images.
        cache_dir: of decoded images.
        console: shows the progress; standard error.
        mirrored: encode the mirror images instead.

    Raises:
        InputError: there is no image.
    """
    if not image_paths:
        raise InputError("no image to encode: the split is empty")
    images = load_images(tuple(image_paths), subject.image_spec, cache_dir)
    starts = range(0, len(images), ENCODE_BATCH)
    inputs: AnyArray
    if subject.pool is not None:
        inputs = subject.pool(images, cache_dir, console, mirrored)
    else:
        inputs = images[:, :, ::-1] if mirrored else images
    parts = [
        subject.encode_images(np.ascontiguousarray(inputs[start : start + ENCODE_BATCH]))
        for start in track(starts, "encoding images", console=console, disable=not console.is_terminal)
    ]
    embeddings, logits = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return LabelledEmbeddings(embeddings, logits, labels)
