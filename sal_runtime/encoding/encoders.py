"""The two encoders of a bundle: images and attribute vectors to unit vectors of the common space."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.encoding.pipeline import num_encoders
from sal_runtime.engines.devices import ENGINES, Backend, DeviceChoice, choose_backend, open_backend
from sal_runtime.errors import InputError

DEFAULT_BATCH_SIZE = 32
CPU_BATCH_SIZE = 16
"""Where each core works on a batch of its own, more images leave its cache."""
ATTRIBUTE_BATCH_SIZE = 1024


class ImageEncoder:
    """Encodes person crops. One encoder may be used from many threads; they share its session.

    Args:
        bundle: opened.
        device: `cpu`, `cuda` or `trt`, exactly; or `auto`, the first of trt, cuda and cpu that can be had.
        precision: of the artefact to run, exactly.
        batch_size: images per run of the graph; larger inputs are cut up.
        threads: of one run on the CPU; None for all cores. Other devices do without.

    Attributes:
        choice: the device it runs on, and why on that one.

    Raises:
        BackendError: the device cannot be had.
        BundleError: the bundle has no image encoder of that precision.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "cpu",
        precision: str = "fp32",
        batch_size: int = DEFAULT_BATCH_SIZE,
        threads: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, expected at least 1")
        self.bundle = bundle
        self.batch_size = batch_size

        def open_on(chosen: str) -> Backend:
            artefact = bundle.artefact("image_encoder", precision, chosen)
            return open_backend(bundle.read_bytes(artefact.file), chosen, threads, precision)

        self._backend, self.choice = choose_backend(device, open_on)

    def encode(self, images: UInt8Array) -> Float32Array:
        """Unit vectors float32 `[N, d]` of crops uint8 RGB `[N, height, width, 3]`, as `load_image` gives them.

        Raises:
            InputError: another dtype or shape.
        """
        spec = self.bundle.image_spec
        if images.dtype != np.uint8 or images.shape[1:] != (spec.height, spec.width, 3):
            raise InputError(
                f"images are {images.dtype} {images.shape}, expected uint8 [N, {spec.height}, {spec.width}, 3]; "
                "load_image and resize_image make them"
            )
        embeddings = np.empty((len(images), self.bundle.embedding_dim), dtype=np.float32)
        for start in range(0, len(images), self.batch_size):
            batch = np.ascontiguousarray(images[start : start + self.batch_size])
            embeddings[start : start + len(batch)] = self._backend.run(batch)
        return embeddings


def bulk_image_encoder(bundle: Bundle, device: str = "cpu", precision: str = "fp32") -> ImageEncoder:
    """An image encoder for many images, of which `encode_images` and `encode_stream` encode several batches at once.

    On the CPU each batch gets its share of the cores, and is small enough for their caches.

    Args:
        bundle: opened.
        device: as for `ImageEncoder`.
        precision: as for `ImageEncoder`.

    Raises:
        BackendError: the device cannot be had.
        BundleError: the bundle has no image encoder of that precision.
    """
    encoder = ImageEncoder(bundle, device, precision, threads=max(1, (os.cpu_count() or 1) // num_encoders()))
    if ENGINES[encoder.choice.device].on_cpu:
        encoder.batch_size = CPU_BATCH_SIZE
    return encoder


class LazyImageEncoder:
    """An image encoder that is made when it is first needed: often nothing is to be encoded.

    Args:
        make: makes it; may take long, is called once.
    """

    def __init__(self, make: Callable[[], ImageEncoder]) -> None:
        self._make = make
        self._made: ImageEncoder | None = None
        self._lock = threading.Lock()

    @property
    def choice(self) -> DeviceChoice | None:
        """The device it runs on; None while it was not needed."""
        return None if self._made is None else self._made.choice

    def __call__(self, images: UInt8Array) -> Float32Array:
        """Unit vectors float32 `[N, d]` of crops uint8 RGB `[N, height, width, 3]`; from any number of threads."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return self._made.encode(images)


class AttributeEncoder:
    """Encodes attribute vectors; always on the CPU, where it costs microseconds. May be used from many threads."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._backend = open_backend(bundle.read_bytes(bundle.artefact("attribute_encoder").file), threads=1)

    def encode(self, vectors: UInt8Array) -> Float32Array:
        """Unit vectors float32 `[Q, d]` of attribute vectors of 0 and 1, `[Q, A]`.

        Raises:
            SchemaError: another shape, or other values.
        """
        checked = self.bundle.schema.check_vectors(vectors).astype(np.float32)
        embeddings = np.empty((len(checked), self.bundle.embedding_dim), dtype=np.float32)
        for start in range(0, len(checked), ATTRIBUTE_BATCH_SIZE):
            batch = checked[start : start + ATTRIBUTE_BATCH_SIZE]
            embeddings[start : start + len(batch)] = self._backend.run(batch)
        return embeddings


def image_encoder(bundle: Bundle, device: str, precision: str = "fp32") -> LazyImageEncoder:
    """The image encoder of a bundle for `encode_stream`, made when there is something to encode."""
    return LazyImageEncoder(lambda: bulk_image_encoder(bundle, device, precision))
