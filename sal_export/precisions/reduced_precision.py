"""The image encoder in fp16 and int8, judged by both gates: embeddings close to fp32's, and no worse retrieval."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sal_export.exported import ExportedEncoder
from sal_export.gates.inputs import GateCrops
from sal_export.gates.parity import Comparison, compare_with, in_chunks, measure_parity, missed_limits
from sal_export.gates.retrieval import Retrieval, Task, loss_of, measure_retrieval, refusals
from sal_export.precisions.half_precision import half_precision
from sal_export.precisions.int8 import (
    CALIBRATION_BATCH,
    METHODS,
    S8S8,
    U8S8,
    Layout,
    calibration_hash,
    quantise,
)
from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.doctor.machine import cpu_name, int8_instructions
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import ConfigError, ParityError
from sal_runtime.images.spec import ImageSpec
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.datasets.splits import SearchDataset
from sal_train.datasets.street import in_words_of
from sal_train.evaluation.full_queries import encode_descriptions
from sal_train.evaluation.protocol import protocol_of_test_split
from sal_train.images.cache import load_images

FP16_NOTE = "{} with its trunk in fp16; ONNX Runtime computes it in fp32 on an x86 CPU, so that proves no numerics"


@dataclasses.dataclass(frozen=True)
class Gate:
    """Both gates for encoders of reduced precision.

    Attributes:
        comparison: with the fp32 encoder on training crops.
        task: retrieval on the evaluation protocol.
        reference: metrics of the fp32 encoder in that task.
        console: for progress; standard error.
    """

    comparison: Comparison
    task: Task
    reference: Retrieval
    console: Console

    def judged(self, encoder: ExportedEncoder) -> ExportedEncoder:
        """The encoder with the findings of the gates, and with the reasons why they refuse it."""
        run = open_backend(encoder.content).run
        try:
            parity = measure_parity(encoder.file, run, self.comparison)
        except ParityError as error:
            return dataclasses.replace(encoder, parity=None, retrieval=None, refusals=(str(error),))
        retrieval = measure_retrieval(encoder.file, run, self.task, self.console)
        loss = loss_of(self.reference, retrieval)
        reasons = (*missed_limits(parity, encoder.precision), *refusals(loss, encoder.precision))
        return dataclasses.replace(encoder, parity=parity, retrieval=retrieval, loss=loss, refusals=reasons)


def retrieval_task(
    dataset: SearchDataset,
    statistics: AttributeStatistics,
    spec: ImageSpec,
    attribute_encoder: bytes,
    cache_dir: Path,
) -> Task:
    """The evaluation protocol of a data set, with its gallery decoded and its queries encoded."""
    protocol = protocol_of_test_split(in_words_of(dataset, statistics.schema))
    images = load_images(protocol.image_paths, spec, cache_dir)
    run = open_backend(attribute_encoder).run

    def encode(vectors: UInt8Array) -> Float32Array:
        return in_chunks(run, vectors.astype(np.float32))

    return Task(protocol, images, encode_descriptions(protocol.queries, statistics, encode, seed=0))


def reduced_encoders(
    reference: ExportedEncoder, crops: GateCrops, task: Task, precisions: Sequence[str], console: Console
) -> list[ExportedEncoder]:
    """Make the image encoders of reduced precision and judge them by the gates.

    Args:
        reference: the exported fp32 image encoder.
        crops: of the training split.
        task: gallery and queries of the retrieval gate.
        precisions: any of `fp16`, `int8` and `int8-trt`.
        console: for progress; standard error.

    Returns:
        The fp32 image encoder with its retrieval metrics, then the others, also those that the gates refuse.

    Raises:
        ConfigError: there are too few crops to calibrate int8.
    """
    backend = open_backend(reference.content)
    retrieval = measure_retrieval(reference.file, backend.run, task, console)
    comparison = compare_with(backend.run, reference.file, crops.crops, task.queries, crops.described)
    gate = Gate(comparison, task, retrieval, console)
    encoders = [dataclasses.replace(reference, retrieval=retrieval)]
    if "fp16" in precisions:
        encoders.append(gate.judged(_fp16(reference)))
    for precision, layout in (("int8", U8S8), ("int8-trt", S8S8)):
        if precision in precisions:
            encoders.append(gate.judged(_int8(reference, crops, comparison, layout, console)))
    return encoders


def _fp16(reference: ExportedEncoder) -> ExportedEncoder:
    return dataclasses.replace(
        reference,
        file="image_encoder.fp16.onnx",
        precision="fp16",
        content=half_precision(reference.content),
        producer=FP16_NOTE.format(reference.file),
    )


def _int8(
    reference: ExportedEncoder, crops: GateCrops, comparison: Comparison, layout: Layout, console: Console
) -> ExportedEncoder:
    """The calibration whose embeddings are closest to fp32's, measured on crops that it was not calibrated on."""
    usable = len(crops.calibration) // CALIBRATION_BATCH * CALIBRATION_BATCH
    if not usable:
        raise ConfigError(
            f"int8 needs {CALIBRATION_BATCH} training crops to calibrate on, apart from those of the gates; got "
            f"{len(crops.calibration)}; leave int8 out or train on more images"
        )
    calibration_crops = crops.calibration[:usable]
    candidates = {}
    for number, method in enumerate(METHODS, 1):
        console.print(f"calibrating int8 {layout.name} on {usable} crops: {method} ({number} of {len(METHODS)})")
        candidates[method] = quantise(reference.content, calibration_crops, method, layout)
    cosines = {method: _mean_cosine(content, comparison) for method, content in candidates.items()}
    best = max(cosines, key=lambda method: cosines[method])
    calibration: dict[str, Any] = {
        "layout": layout.name,
        "method": best,
        "mean_cosine_by_method": cosines,
        "crops": usable,
        "crops_sha256": calibration_hash(calibration_crops),
        "data": crops.described.partition(",")[0],
        "processor": {"name": cpu_name(), "int8_instructions": int8_instructions()},
    }
    return dataclasses.replace(
        reference,
        file="image_encoder.int8.onnx" if layout is U8S8 else "image_encoder.int8.trt.onnx",
        precision="int8",
        devices=layout.devices,
        content=candidates[best],
        producer=f"onnxruntime static quantisation of {reference.file}, {layout.name}, {best}",
        calibration=calibration,
    )


def _mean_cosine(content: bytes, comparison: Comparison) -> float:
    got = in_chunks(open_backend(content).run, comparison.inputs)
    return float((got * comparison.reference).sum(axis=1).mean())
