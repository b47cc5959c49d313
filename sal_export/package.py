"""`sal export`: a trained run to a bundle, through the gate."""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from sal_export.encoders import DeployedAttributeEncoder, DeployedImageEncoder
from sal_export.heads import UnitHead, unit_head
from sal_export.onnx_export import export_onnx
from sal_export.parity import Parity, measure_parity
from sal_export.publish import publish
from sal_runtime import __version__
from sal_runtime.backends import open_backend
from sal_runtime.bundle import GOLDEN, HEADS, Bundle
from sal_runtime.images import ImageSpec, load_image, resize_image
from sal_train.calibrate import fit_run_calibration
from sal_train.checkpoint import Run
from sal_train.datasets import SearchDataset
from sal_train.datasets.synthetic import SCHEMA as SYNTHETIC_SCHEMA
from sal_train.datasets.synthetic import render_pedestrian
from sal_train.subject import bundle_subject

NUM_GATE_CROPS = 256
NUM_GATE_VECTORS = 256
NUM_GOLDEN = 8
IMAGE_ENCODER = "image_encoder.onnx"
ATTRIBUTE_ENCODER = "attribute_encoder.onnx"
RESEARCH_LICENCE = (
    "Research use only: the weights were trained on data whose terms say so ({terms}). The software is Apache-2.0."
)

UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True)
class GateInputs:
    """What the gate runs.

    Attributes:
        crops: uint8 [N, H, W, 3].
        vectors: uint8 [Q, A].
        described: where the crops came from.
    """

    crops: UInt8Array
    vectors: UInt8Array
    described: str


def export_run(
    run: Run, out: Path, dataset: SearchDataset | None, cache_dir: Path, console: Console, name: str | None = None
) -> Bundle:
    """Export a run.

    Args:
        run: from `load_run`.
        out: the bundle directory; one that is there is replaced when, and only when, the new one has passed.
        dataset: the data the run was trained on, for crops of the gate and for the calibration; None: the gate runs on
            drawn pedestrians and the bundle has no calibrated likelihood.
        cache_dir: of decoded images.
        console: for progress and the gate's table; standard error.
        name: of the bundle; that of `out` if None.

    Raises:
        ParityError: the exported encoders differ from their source; nothing is published.
        BundleError: `out` cannot be written.
    """
    spec = ImageSpec(run.config.model.height, run.config.model.width)
    with console.status("exporting the encoders"):
        image_module, attribute_module = DeployedImageEncoder(run.networks), DeployedAttributeEncoder(run.networks)
        example = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)
        models = {
            IMAGE_ENCODER: export_onnx(image_module, example, "images"),
            ATTRIBUTE_ENCODER: export_onnx(attribute_module, torch.zeros(2, run.schema.num_bits), "attributes"),
        }
    gate = gate_inputs(run, spec, dataset)
    with console.status(f"comparing with PyTorch on {gate.described}"):
        parities = pass_gate(run, models, gate)
        head = unit_head(run.networks, _embed(run, gate.crops))
    print_gate(parities, head, console)
    manifest = build_manifest(run, spec, parities, head, name or out.name)
    files = {
        **models,
        HEADS: _npz(head.arrays()),
        GOLDEN: _npz(golden_vectors(run, spec)),
    }
    if dataset is not None:
        manifest = {**manifest, "calibration": _calibrate(run, dataset, manifest, files, cache_dir, console)}
    return publish(out, manifest, files, run.schema)


def gate_inputs(run: Run, spec: ImageSpec, dataset: SearchDataset | None) -> GateInputs:
    """Crops of the training split chosen by the run's seed, or drawn ones; attribute vectors of training categories."""
    rng = np.random.default_rng(run.config.run.seed)
    vectors = run.category_vectors[rng.integers(0, len(run.category_vectors), NUM_GATE_VECTORS)]
    if dataset is None:
        return GateInputs(drawn_crops(spec, NUM_GATE_CROPS), vectors, f"{NUM_GATE_CROPS} drawn pedestrians")
    paths = dataset.train.image_paths
    chosen = rng.permutation(len(paths))[:NUM_GATE_CROPS]
    crops = np.stack([load_image(paths[row], spec) for row in chosen])
    return GateInputs(crops, vectors, f"{len(crops)} training crops of {dataset.name}")


def drawn_crops(spec: ImageSpec, count: int) -> UInt8Array:
    """Procedural pedestrians uint8 [count, H, W, 3], always the same."""
    rng = np.random.default_rng(0)
    states = np.stack([rng.integers(0, len(group.states), count) for group in SYNTHETIC_SCHEMA.groups], axis=1)
    vectors = SYNTHETIC_SCHEMA.vectors_from_states(states)
    return np.stack([resize_image(render_pedestrian(vector, rng), spec) for vector in vectors])


def pass_gate(run: Run, models: Mapping[str, bytes], gate: GateInputs) -> dict[str, Parity]:
    """Compare both exported encoders, in ONNX Runtime on the CPU, with PyTorch.

    Raises:
        ParityError: one of them differs.
    """
    image_module = DeployedImageEncoder(run.networks).eval()
    attribute_module = DeployedAttributeEncoder(run.networks).eval()
    vectors = gate.vectors.astype(np.float32)
    queries = _torch_encode(attribute_module)(vectors)
    return {
        ATTRIBUTE_ENCODER: measure_parity(
            ATTRIBUTE_ENCODER,
            vectors,
            _torch_encode(attribute_module),
            open_backend(models[ATTRIBUTE_ENCODER]).run,
            None,
            "training category vectors",
        ),
        IMAGE_ENCODER: measure_parity(
            IMAGE_ENCODER,
            gate.crops,
            _torch_encode(image_module),
            open_backend(models[IMAGE_ENCODER]).run,
            queries,
            f"{gate.described}, sha256 {hashlib.sha256(gate.crops.tobytes()).hexdigest()}",
        ),
    }


def print_gate(parities: Mapping[str, Parity], head: UnitHead, console: Console) -> None:
    """The gate's findings as a table."""
    table = Table(title="export gate: ONNX Runtime against PyTorch, fp32")
    for column in ("encoder", "inputs", "max abs", "min cosine", "top-10"):
        table.add_column(column, justify="left" if column == "encoder" else "right")
    for file, parity in parities.items():
        agreement = "" if parity.top10_agreement is None else f"{100 * parity.top10_agreement:.1f} %"
        table.add_row(file, str(parity.num_inputs), f"{parity.max_abs:.1e}", f"{parity.min_cosine:.7f}", agreement)
    console.print(table)
    same = 100 * head.error["same_decision"]
    console.print(f"attribute head on unit vectors: {same:.2f} % of the decisions of C_att", highlight=False)


def build_manifest(
    run: Run, spec: ImageSpec, parities: Mapping[str, Parity], head: UnitHead, name: str
) -> dict[str, Any]:
    """Everything but files, fingerprint and calibration."""
    roles = {IMAGE_ENCODER: "image_encoder", ATTRIBUTE_ENCODER: "attribute_encoder"}
    producer = f"torch {torch.__version__}, onnx opset 20"
    terms = run.provenance["licence"]
    research = "research" in terms.lower()
    return {
        "name": name,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "sal_version": __version__,
        "schema": run.schema.to_json(),
        "image": spec.to_json(),
        "embedding_dim": run.config.model.embedding_dim,
        "statistics": run.statistics.to_json(),
        "calibration": None,
        "artefacts": [
            {
                "role": roles[file],
                "file": file,
                "precision": "fp32",
                "producer": producer,
                "parity": parity.to_json(),
                "metrics": {},
            }
            for file, parity in parities.items()
        ],
        "heads": {"error": head.error},
        "training": run.provenance,
        "metrics": {},
        "licence": RESEARCH_LICENCE.format(terms=terms) if research else terms,
    }


def golden_vectors(run: Run, spec: ImageSpec) -> dict[str, NDArray[Any]]:
    """Drawn crops and random attribute vectors with the embeddings PyTorch gives them; nothing of any data set."""
    crops = drawn_crops(spec, NUM_GOLDEN)
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
    """Fit the likelihood of match with the exported encoders themselves."""
    with tempfile.TemporaryDirectory() as folder:
        subject = bundle_subject(publish(Path(folder, "bundle"), manifest, files, run.schema), "cpu")
    return fit_run_calibration(run, dataset, subject, cache_dir, console)


def _torch_encode(module: torch.nn.Module) -> Any:
    @torch.no_grad()
    def encode(batch: NDArray[Any]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = module(torch.as_tensor(batch)).numpy()
        return embeddings

    return encode


@torch.no_grad()
def _embed(run: Run, crops: UInt8Array) -> torch.Tensor:
    """Embeddings as E_V gives them, not normalised, [N, d]."""
    return torch.cat([run.networks.embed_images(torch.as_tensor(part)) for part in np.array_split(crops, 8)])


def _npz(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
