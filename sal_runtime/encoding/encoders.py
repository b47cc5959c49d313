"""The two encoders of a bundle: images and attribute vectors to unit vectors of the common space."""

from __future__ import annotations

import os
import threading
from functools import partial

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array, Precision, UInt8Array
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, Bundle
from sal_runtime.engines.devices import DEVICE_ENTRIES, Backend, DeviceChoice, choose_backend, open_backend
from sal_runtime.errors import InputError

MAX_ENCODERS = 4
"""Most batches that are encoded in parallel; each holds its own activations in memory."""
DEFAULT_BATCH_SIZE = 32
CPU_BATCH_SIZE = 16
"""Images per run on the CPU: when each core works on its own batch, more images do not fit into its cache."""
ATTRIBUTE_BATCH_SIZE = 1024


class ImageEncoder:
    """Encodes person crops. Threads may share an encoder; they share its session.

    Args:
        bundle: the opened bundle.
        device: `cpu`, `cuda` or `trt`, exactly; or `auto`, the first of trt, cuda and cpu that is available.
        precision: precision of the encoder, exactly.
        batch_size: images per run of the graph; larger inputs are split. None for `CPU_BATCH_SIZE` on the CPU and
            `DEFAULT_BATCH_SIZE` on other devices.
        threads: CPU threads per run, None for all cores; other devices ignore it.

    Attributes:
        choice: the device it runs on, and the reason.

    Raises:
        BackendError: the device is unknown or unavailable.
        BundleError: the bundle has no image encoder of that precision for the device.
        InputError: `batch_size` is not positive.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "cpu",
        precision: Precision = "fp32",
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, expected at least 1")
        self.bundle = bundle

        def model_for(candidate: str) -> bytes:
            return bundle.read_bytes(bundle.artefact(IMAGE_ROLE, device=candidate, precision=precision).file)

        self._backend, self.choice = choose_backend(model_for, device=device, precision=precision, threads=threads)
        on_cpu = DEVICE_ENTRIES[self.choice.device].on_cpu
        self.batch_size = batch_size or (CPU_BATCH_SIZE if on_cpu else DEFAULT_BATCH_SIZE)

    def encode(self, images: UInt8Array) -> Float32Array:
        """Unit vectors float32 `[N, d]` of crops uint8 RGB `[N, height, width, 3]`, as `load_image` returns them.

        Raises:
            InputError: the dtype or the shape differs.
            BackendError: the device failed.
        """
        spec = self.bundle.image_spec
        if images.dtype != np.uint8 or images.shape[1:] != (spec.height, spec.width, 3):
            raise InputError(
                f"images are {images.dtype} {images.shape}, expected uint8 [N, {spec.height}, {spec.width}, 3]; "
                "load_image and resize_image make them"
            )
        return _encode_in_batches(self._backend, images, self.batch_size, self.bundle.embedding_dim)


def bulk_image_encoder(bundle: Bundle, *, device: str = "cpu", precision: Precision = "fp32") -> ImageEncoder:
    """An image encoder for `encode_images` and `encode_stream`, which encode several batches in parallel.

    On the CPU each batch gets its share of the cores.

    Args:
        bundle: the opened bundle.
        device: `cpu`, `cuda` or `trt`, exactly; or `auto`, the first of trt, cuda and cpu that is available.
        precision: precision of the encoder, exactly.

    Raises:
        BackendError: the device is unknown or unavailable.
        BundleError: the bundle has no image encoder of that precision for the device.
    """
    threads = max(1, (os.cpu_count() or 1) // num_encoders())
    return ImageEncoder(bundle, device=device, precision=precision, threads=threads)


class LazyImageEncoder:
    """A `bulk_image_encoder` that is opened on first use, because often there is nothing to encode.

    Arguments and errors are those of `bulk_image_encoder`; the errors are raised on first use.
    """

    def __init__(self, bundle: Bundle, *, device: str = "cpu", precision: Precision = "fp32") -> None:
        self._open = partial(bulk_image_encoder, bundle, device=device, precision=precision)
        self._encoder: ImageEncoder | None = None
        self._lock = threading.Lock()

    @property
    def choice(self) -> DeviceChoice | None:
        """The device it runs on, and the reason; None before the first use."""
        return None if self._encoder is None else self._encoder.choice

    def __call__(self, images: UInt8Array) -> Float32Array:
        """Unit vectors float32 `[N, d]` of crops uint8 RGB `[N, height, width, 3]`; threads may share it."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._open()
        return self._encoder.encode(images)


class AttributeEncoder:
    """Encodes attribute vectors; always on the CPU, where it takes microseconds. Threads may share it."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._backend = open_backend(bundle.read_bytes(bundle.artefact(ATTRIBUTE_ROLE).file), threads=1)

    def encode(self, vectors: UInt8Array) -> Float32Array:
        """Unit vectors float32 `[Q, d]` of attribute vectors of 0 and 1, uint8 `[Q, A]`.

        Raises:
            SchemaError: the shape differs, or a value is not 0 or 1.
        """
        checked = self.bundle.schema.check_vectors(vectors).astype(np.float32)
        return _encode_in_batches(self._backend, checked, ATTRIBUTE_BATCH_SIZE, self.bundle.embedding_dim)


def _encode_in_batches(backend: Backend, inputs: AnyArray, batch_size: int, embedding_dim: int) -> Float32Array:
    embeddings = np.empty((len(inputs), embedding_dim), dtype=np.float32)
    for start in range(0, len(inputs), batch_size):
        batch = np.ascontiguousarray(inputs[start : start + batch_size])
        embeddings[start : start + len(batch)] = backend.run(batch)
    return embeddings


def num_encoders() -> int:
    """Default number of batches that are encoded in parallel: one per core, at most `MAX_ENCODERS`."""
    return min(MAX_ENCODERS, os.cpu_count() or 1)
