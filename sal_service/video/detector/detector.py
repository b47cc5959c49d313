"""Frames in, people out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array, Int64Array, UInt8Array, batched
from sal_runtime.errors import BackendError, InputError
from sal_runtime.images.pixels import import_opencv
from sal_service.video.detections import Detections
from sal_service.video.detector.decoders import DECODERS, Outputs
from sal_service.video.detector.description import NO_SUPPRESSION
from sal_service.video.detector.network import Network
from sal_service.video.detector.pixels import Placement, fit, to_pictures
from sal_service.video.detector.recognise import canvas_size, describe
from sal_service.video.detector.sidecar import find_sidecar, read_sidecar

LARGEST_BATCH = 16
"""Most pictures in a run where the graph takes any number: so memory stays bounded."""
ROUNDING = 1e-3
"""A score in half precision may be so far outside of 0..1."""
PROBED = 2
"""Pictures of the first run where the graph takes any number: two show whether it really does."""
LARGEST_FRACTION = 1.5
"""Boxes that end within so many pixels of the corner of the canvas are fractions, not pixels."""


class Detector:
    """A person detector in an ONNX file. Threads may share it.

    A sidecar decides how it is fed and read: `NAME.toml` beside `NAME.onnx`, or `detector.toml` in the same folder if
    the folder has no other .onnx file. What the sidecar does not say is recognised; see `docs/detectors.md`.

    Args:
        path: the .onnx file.
        device: `cpu`, `cuda` or `trt`; the whole graph must run there. The first use on `trt` builds an engine, which
            takes from seconds to minutes.
        min_score: detections with a lower score are left out.
        min_height: people lower than this, in pixels of the frame, are left out.
        threads: CPU threads per run, None for all cores.

    Attributes:
        title: name of the file.
        description: how it is fed and read.
        notes: what was taken from the conventions of its family, a sentence each; for reports.
        sidecar: the file that describes it; None if there is none.
        batch: most frames in a run.
        device, min_score, min_height: as given.

    Raises:
        InputError: the file or its sidecar cannot be read, or it is not certain what the outputs mean.
        BackendError: the library of the device is not installed, does not provide it, or cannot run the graph there.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        device: str = "cpu",
        min_score: float = 0.3,
        min_height: float = 48,
        threads: int | None = None,
    ) -> None:
        if not 0 < min_score <= 1:
            raise InputError(f"min_score is {min_score}, expected a number above 0, at most 1", parameter="min_score")
        if not min_height >= 0:
            raise InputError(f"min_height is {min_height}, expected a number of pixels", parameter="min_height")
        self._path = Path(path)
        self.title, self.device, self.min_score, self.min_height = self._path.name, device, min_score, min_height
        self.sidecar = find_sidecar(self._path)
        settings = {} if self.sidecar is None else read_sidecar(self.sidecar)
        stated = 1 if "image" in settings.get("columns", ()) else settings.get("batch", 0)
        self._network = Network(self._path, device=device, largest_batch=stated or LARGEST_BATCH, threads=threads)
        size = canvas_size(self._network, settings)
        self.batch = self._network.batch or stated or LARGEST_BATCH
        count = self._network.batch or min(self.batch, PROBED)
        remedy = "" if self._network.batch or stated else "; if its graph takes one picture in a run, state batch = 1"
        try:
            outputs = self._network.run(_black(self._network, size, count), size)
        except BackendError as error:
            raise BackendError(f"{error}{remedy}") from error
        self.description, self.notes = describe(self._network, settings, size, outputs)
        try:
            self._decode(outputs, count)
        except InputError as error:
            raise InputError(f"{error}{remedy}\n{self._network.listing(outputs)}") from error

    @property
    def family(self) -> str:
        """The layout of its outputs."""
        return self.description.family

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of its canvas in pixels."""
        return self.description.width, self.description.height

    @property
    def license(self) -> str:
        """Terms of its weights, by its metadata or its sidecar; empty if neither says them."""
        return self.description.license

    def detect(self, images: Sequence[UInt8Array]) -> list[Detections]:
        """The people in each frame, the surest first.

        Args:
            images: frames uint8 BGR `[H, W, 3]`, of any sizes.

        Raises:
            InputError: a frame is of another kind, or the outputs are not of the detector's family.
            BackendError: the engine failed.
        """
        for number, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
                raise InputError(f"frame {number} is {image.dtype} {list(image.shape)}, expected uint8 BGR [H, W, 3]")
        return [people for part in batched(images, self.batch) for people in self._detect_batch(part)]

    def _detect_batch(self, images: list[UInt8Array]) -> list[Detections]:
        placed = [fit(image, self.description) for image in images]
        count = self._network.batch or len(images)
        network = self._network
        pictures = to_pictures(
            [canvas for canvas, _ in placed],
            self.description,
            dtype=network.picture.dtype,
            is_planar=network.is_planar,
            count=count,
        )
        boxes, scores = self._decode(network.run(pictures, self.input_size), count)
        return [self._people(boxes[number], scores[number], placement) for number, (_, placement) in enumerate(placed)]

    def _decode(self, outputs: Outputs, count: int) -> tuple[Float32Array, Float32Array]:
        """Boxes `[count, m, 4]` in pixels of the canvas and scores `[count, m]`, checked."""
        try:
            boxes, scores = DECODERS[self.family](outputs, self.description)
            if len(boxes) != count:
                raise InputError(f"the outputs are of {len(boxes)} pictures, but {count} were given")
            _check(boxes, scores, self.min_score)
        except InputError as error:
            raise InputError(f"detector {self._path}: {error}") from error
        return boxes, scores

    def _people(self, boxes: Float32Array, scores: Float32Array, placement: Placement) -> Detections:
        """The people among the boxes `[m, 4]` in pixels of the canvas."""
        sure = np.flatnonzero(scores >= self.min_score)
        sure = sure[np.argsort(-scores[sure], kind="stable")]
        kept = sure[without_doubles(boxes[sure], scores[sure], self.description.overlap)]
        in_frame = placement.to_frame(boxes[kept])
        sizes = in_frame[:, 2:] - in_frame[:, :2]
        is_large = (sizes > 0).all(axis=1) & (sizes[:, 1] >= self.min_height)
        return Detections(in_frame[is_large], np.clip(scores[kept][is_large], 0, 1))


def without_doubles(boxes: Float32Array, scores: Float32Array, overlap: float) -> Int64Array:
    """Numbers of the boxes that stay when those that overlap a better one are left out, the best first.

    Args:
        boxes: float32 `[n, 4]`: left, top, right, bottom.
        scores: float32 `[n]`.
        overlap: intersection over union from which on a box is left out; 1 leaves out none.
    """
    if overlap >= NO_SUPPRESSION or len(boxes) < 2:
        return np.arange(len(boxes))
    cv2 = import_opencv()
    sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # left, top, width, height
    return np.array(cv2.dnn.NMSBoxes(sized.astype(np.float64), scores, 0.0, overlap), np.int64).reshape(-1)


def _black(network: Network, size: tuple[int, int], count: int) -> AnyArray:
    """Pictures to look at the outputs before it is known what they mean; black is a picture by every convention."""
    shape = (3, size[1], size[0]) if network.is_planar else (size[1], size[0], 3)
    return np.zeros((count, *shape), network.picture.dtype)


def _check(boxes: Float32Array, scores: Float32Array, min_score: float) -> None:
    """Refuse values that would give nobody, or anybody, because they mean something else."""
    if scores.size == 0:
        return
    if scores.min() < -ROUNDING or scores.max() > 1 + ROUNDING:
        raise InputError(
            f"scores are from {scores.min():.3g} to {scores.max():.3g}, expected 0..1; maybe it gives logits"
        )
    sure = boxes[scores >= min_score]
    if len(sure) and sure.max() <= LARGEST_FRACTION:
        raise InputError(f"boxes are at most {sure.max():.3g}, expected pixels of the canvas; maybe they are fractions")
