"""`sal export`: a trained run to a bundle, or a bundle to one with further encoders, through the gates."""

from __future__ import annotations

import dataclasses
import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from sal_export.bundle_writing import check_destination
from sal_export.encoders import DeployedAttributeEncoder, DeployedImageEncoder
from sal_export.engines import MADE_BY
from sal_export.exported import ExportedEncoder, encoder_from_manifest, print_gate
from sal_export.gates.inputs import GateCrops, drawn_crops, gate_crops, gate_inputs
from sal_export.gates.parity import Comparison, compare_with, measure_parity, missed_limits
from sal_export.heads import UnitHead, unit_head
from sal_export.onnx_export import OPSET, export_onnx
from sal_export.precisions.reduced_precision import reduced_encoders, retrieval_task
from sal_export.publish import publish
from sal_runtime.arrays import AnyArray, Float32Array, Precision, UInt8Array
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, GOLDEN, HEADS, IMAGE_ROLE, MODEL_CARD, Bundle
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import ConfigError, ParityError
from sal_runtime.images.spec import ImageSpec
from sal_runtime.version import __version__
from sal_train.checkpoint import Run
from sal_train.datasets.splits import SearchDataset
from sal_train.evaluation.calibrate import calibrate
from sal_train.evaluation.subject import bundle_subject

NUM_GOLDEN = 8
GOLDEN_CHOICE = 4
"""Golden crops are one in so many drawn ones: those with the longest embeddings, which rounding turns least."""
ALL_DEVICES = ("cpu", "cuda", "trt")
RESEARCH_LICENCE = (
    "Research use only: the weights were trained on data whose terms say so ({terms}). The software is Apache-2.0."
)


def export_run(
    run: Run,
    out: Path,
    dataset: SearchDataset | None,
    cache_dir: Path,
    console: Console,
    name: str | None = None,
    precisions: Sequence[str] = ("fp32",),
    publish_passed: bool = False,
) -> Bundle:
    """Export a run to a bundle.

    Args:
        run: from `load_run`.
        out: the bundle directory; an existing bundle is replaced only after the new one has passed the gates.
        dataset: the data the run was trained on; it gives crops for the gates and for the calibrations. None: the
            parity gate runs on drawn pedestrians, and the bundle has no calibrated likelihood and only fp32 encoders.
        cache_dir: of decoded images.
        console: for progress and the table of the gates; standard error.
        name: of the bundle; None: the name of `out` without its suffix.
        precisions: of the image encoder: any of `fp32`, which is always exported, `fp16`, `int8` (for ONNX Runtime) and
            `int8-trt` (for TensorRT).
        publish_passed: write the bundle without the precisions that the gates refuse; its manifest names them in
            `refused`. False: a refusal is an error.

    Raises:
        ParityError: the fp32 encoders differ from PyTorch, or a precision is refused; nothing is written.
        ConfigError: a reduced precision is requested without a data set, or the run has no vectors that a gallery could
            hold, because it compares pairs by a network.
        BundleError: `out` cannot be written.
    """
    _check_before_work(run, out, dataset, precisions)
    spec = ImageSpec(run.config.model.height, run.config.model.width)
    crops, vectors = gate_inputs(run, spec, dataset)
    attribute, image = fp32_encoders(run, spec, crops, vectors, console)
    images = [image]
    if dataset is not None and not set(precisions) <= {"fp32"}:
        task = retrieval_task(dataset, run.statistics, spec, attribute.content, cache_dir)
        images = reduced_encoders(image, crops, task, precisions, console)
    passed, refused = _verdicts(images, publish_passed, console)
    head = unit_head(run.networks, _embed(run, crops.crops))
    same = 100 * head.error["same_decision"]
    console.print(f"attribute head on unit vectors: {same:.2f} % of the decisions of C_att", highlight=False)
    manifest = build_manifest(run, spec, [attribute, *passed], head, name or bundle_name(out))
    manifest["refused"] = [encoder.manifest_entry() for encoder in refused]
    files = {
        **{encoder.file: encoder.content for encoder in (attribute, *passed)},
        HEADS: _npz(head.arrays()),
        GOLDEN: _npz(golden_vectors(run, spec)),
    }
    if dataset is not None:
        console.print("calibrating the likelihood of match")
        manifest["calibration"] = _calibrate(run, dataset, manifest, files, cache_dir, console)
    return publish(out, manifest, files, run.schema)


def _check_before_work(run: Run, out: Path, dataset: SearchDataset | None, precisions: Sequence[str]) -> None:
    if run.networks.is_pairwise:
        raise ConfigError(
            f"{run.path}: model.system {run.config.model.system} compares each query with each image by a network, so "
            "no gallery can hold its images; it can only be evaluated. Export a run of a system that ranks by a cosine"
        )
    reduced = [precision for precision in precisions if precision != "fp32"]
    if reduced and dataset is None:
        raise ConfigError(
            f"precision {reduced[0]} needs the data set of the run: it is exported only if mAP and rank-1 on that data "
            "set stay within fixed tolerances",
            parameter="dataset",
        )
    check_destination(out)


def add_precisions(
    bundle: Bundle,
    out: Path,
    dataset: SearchDataset,
    cache_dir: Path,
    console: Console,
    precisions: Sequence[str],
    publish_passed: bool = False,
) -> Bundle:
    """Write a bundle again with further image encoders, made of its fp32 encoder; its run is not needed.

    All else stays as it is, the fingerprint and the other encoders among it.

    Args:
        bundle: opened.
        out: as for `export_run`; it may be the bundle itself.
        dataset: the data that the bundle was trained on.
        cache_dir: of decoded images.
        console: for progress and the table of the gates; standard error.
        precisions: any of `fp16`, `int8` and `int8-trt`; replaces encoders that are there.
        publish_passed: as for `export_run`.

    Raises:
        ParityError: a precision is refused; nothing is written.
        InputError: the data set does not have the words of the bundle.
        BundleError: `out` cannot be written.
    """
    check_destination(out)
    spec, training = bundle.image_spec, bundle.manifest["training"]
    entries = bundle.manifest["artefacts"]
    reference = next(
        encoder_from_manifest(entry, bundle.read_bytes(entry["file"]))
        for entry in entries
        if (entry["role"], entry["precision"]) == (IMAGE_ROLE, "fp32")
    )
    task = retrieval_task(
        dataset, bundle.statistics, spec, bundle.read_bytes(bundle.artefact(ATTRIBUTE_ROLE).file), cache_dir
    )
    encoders = reduced_encoders(reference, gate_crops(training, spec, dataset), task, precisions, console)
    passed, refused = _verdicts(encoders, publish_passed, console)
    tried = {encoder.file for encoder in encoders[1:]}
    manifest = {key: value for key, value in bundle.manifest.items() if key not in ("files", "fingerprint")}
    manifest["artefacts"] = [
        *(entry for entry in entries if entry["file"] not in tried),
        *(encoder.manifest_entry() for encoder in passed[1:]),
    ]
    manifest["refused"] = [
        *(entry for entry in bundle.manifest.get("refused", []) if entry["file"] not in tried),
        *(encoder.manifest_entry() for encoder in refused),
    ]
    kept = [file for file in bundle.manifest["files"] if file not in {*tried, MODEL_CARD}]
    files = {file: bundle.read_bytes(file) for file in kept} | {encoder.file: encoder.content for encoder in passed[1:]}
    return publish(out, manifest, files, bundle.schema)


def _verdicts(
    images: Sequence[ExportedEncoder], publish_passed: bool, console: Console
) -> tuple[list[ExportedEncoder], list[ExportedEncoder]]:
    """The encoders that passed and those that are refused, both printed.

    Raises:
        ParityError: one is refused, and not `publish_passed`.
    """
    print_gate(images, console)
    refused = [encoder for encoder in images if encoder.refusals]
    passed = [encoder for encoder in images if not encoder.refusals]
    if refused and not publish_passed:
        raise _refusal(refused, passed)
    return passed, refused


def bundle_name(out: Path) -> str:
    """Name of the bundle in a folder: `market` for `market.bundle`."""
    return out.absolute().name.removesuffix(".bundle")


def _refusal(refused: Sequence[ExportedEncoder], passed: Sequence[ExportedEncoder]) -> ParityError:
    """The error that says what was refused, why, and what to do."""
    names = " and ".join(encoder.asked_as for encoder in refused)
    reasons = "; ".join(f"{encoder.asked_as}: {', '.join(encoder.refusals)}" for encoder in refused)
    rest = ", ".join(encoder.asked_as for encoder in passed)
    return ParityError(
        f"the gate refuses {names}, and nothing has been written. {reasons}. Export without {names}, or publish what "
        f"passed: {rest}",
        parameter="publish_passed",
    )


def artefacts_for(precisions: Sequence[str], engines: Sequence[Precision]) -> list[str]:
    """The `precisions` of `export_run` for the given precisions of the image encoder and of TensorRT engines."""
    wanted = [*precisions, *(MADE_BY[precision] for precision in engines)]
    return list(dict.fromkeys(["fp32", *wanted]))


def fp32_encoders(
    run: Run, spec: ImageSpec, crops: GateCrops, vectors: Float32Array, console: Console
) -> tuple[ExportedEncoder, ExportedEncoder]:
    """Export the attribute and the image encoder in fp32, and compare them with PyTorch.

    Raises:
        ParityError: one of them differs.
    """
    attribute_module, image_module = DeployedAttributeEncoder(run.networks), DeployedImageEncoder(run.networks)
    console.print("exporting fp32")
    attribute = export_onnx(attribute_module, torch.zeros(2, run.schema.num_bits), "attributes")
    image = export_onnx(image_module, torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8), "images")
    torch_attribute, torch_image = _torch_encode(attribute_module.eval()), _torch_encode(image_module.eval())
    console.print(f"comparing with PyTorch on {crops.described.partition(',')[0]}", highlight=False)
    attribute_source = compare_with(torch_attribute, "PyTorch", vectors, None, "training category vectors")
    image_source = compare_with(torch_image, "PyTorch", crops.crops, attribute_source.reference, crops.described)
    return _fp32(ATTRIBUTE_ROLE, attribute, attribute_source), _fp32(IMAGE_ROLE, image, image_source)


def _fp32(role: str, content: bytes, source: Comparison) -> ExportedEncoder:
    file = f"{role}.onnx"
    parity = measure_parity(file, open_backend(content).run, source)
    if missed := missed_limits(parity, "fp32"):
        raise ParityError(
            f"{file} differs from PyTorch: {', '.join(missed)}. Nothing has been written; try the versions of torch, "
            "onnx and onnxruntime that constraints.txt names"
        )
    producer = f"torch {torch.__version__}, onnx opset {OPSET}"
    return ExportedEncoder(role, file, "fp32", ALL_DEVICES, content, producer, parity)


def build_manifest(
    run: Run, spec: ImageSpec, encoders: Sequence[ExportedEncoder], head: UnitHead, name: str
) -> dict[str, Any]:
    """The manifest without files, fingerprint and calibration."""
    terms = run.provenance["licence"]
    research = "research" in terms.lower()
    # the name of a file of weights says what they are; its folder is only of interest to whoever trained
    model = dataclasses.replace(run.config.model, weights=Path(run.config.model.weights).name)
    return {
        "name": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "sal_version": __version__,
        "schema": run.schema.to_json(),
        "image": spec.to_json(),
        "embedding_dim": run.networks.embedding_dim,
        "statistics": run.statistics.to_json(),
        "calibration": None,
        "artefacts": [encoder.manifest_entry() for encoder in encoders],
        "heads": {"error": head.error},
        "training": run.provenance | {"model": dataclasses.asdict(model)},
        "metrics": {},
        "licence": RESEARCH_LICENCE.format(terms=terms) if research else terms,
    }


def golden_vectors(run: Run, spec: ImageSpec) -> dict[str, AnyArray]:
    """Drawn crops and random attribute vectors with PyTorch's embeddings of them; nothing comes from a data set."""
    drawn = drawn_crops(spec, GOLDEN_CHOICE * NUM_GOLDEN)
    crops = drawn[_embed(run, drawn).norm(dim=1).argsort(descending=True)[:NUM_GOLDEN].numpy()]
    vectors, _ = run.statistics.sample_completions([{}], 4 * NUM_GOLDEN, seed=0)
    vectors = vectors[:NUM_GOLDEN]
    return {
        "images": crops,
        "attributes": vectors,
        "image_embeddings": _torch_encode(DeployedImageEncoder(run.networks).eval())(crops),
        "attribute_embeddings": _torch_encode(DeployedAttributeEncoder(run.networks).eval())(
            vectors.astype(np.float32)
        ),
    }


def _calibrate(
    run: Run,
    dataset: SearchDataset,
    manifest: Mapping[str, Any],
    files: Mapping[str, bytes],
    cache_dir: Path,
    console: Console,
) -> dict[str, Any]:
    """Fit the likelihood of match with the exported encoders."""
    with tempfile.TemporaryDirectory() as folder:
        subject = bundle_subject(publish(Path(folder, "bundle"), manifest, files, run.schema), "cpu")
    return calibrate(subject, dataset, run.config.data, run.config.run.seed, cache_dir, console)


def _torch_encode(module: torch.nn.Module) -> Any:
    @torch.no_grad()
    def encode(batch: AnyArray) -> Float32Array:
        embeddings: Float32Array = module(torch.as_tensor(batch)).numpy()
        return embeddings

    return encode


@torch.no_grad()
def _embed(run: Run, crops: UInt8Array) -> torch.Tensor:
    """Outputs of E_V, not normalised, float32 [N, d]."""
    return torch.cat([run.networks.embed_images(torch.as_tensor(part)) for part in np.array_split(crops, 8)])


def _npz(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
