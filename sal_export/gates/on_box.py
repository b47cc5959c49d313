"""The first gate on the machine that runs a bundle: its encoders are there what they were where they were exported.

It needs no labels, no data set and no PyTorch, so the second gate, which counts right hits, is not part of it. The
share of common hits among the first ten stands for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from sal_export.gates.parity import (
    BATCHES,
    Comparison,
    EncodeBatch,
    Parity,
    compare_with,
    measure_parity,
    missed_limits,
    share_of_limits,
)
from sal_runtime.arrays import Precision, UInt8Array
from sal_runtime.bundle.bundle import IMAGE_ROLE, Artefact, Bundle
from sal_runtime.bundle.golden import check_golden
from sal_runtime.doctor.machine import cpu_name, int8_instructions
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import InputError, SalError
from sal_runtime.images.folder import list_images
from sal_runtime.images.pixels import load_image

NUM_CROPS = 256
"""Crops to compare on, as many as at the export."""
NUM_QUERIES = 64
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class EncoderOnBox:
    """How an image encoder does on this machine.

    Attributes:
        file: name in the bundle.
        precision: of the encoder.
        device: that ran it here.
        parity: comparison with the fp32 encoder on the CPU of this machine; None if it could not be compared.
        share_of_limits: largest share of a limit of the gate that it uses up; None if it could not be compared.
        exported: the comparison at the export, from the manifest.
        exported_on: the processor of that comparison; empty if the manifest does not say.
        missed: why it fails, one clause each; empty if it passes.
    """

    file: str
    precision: str
    device: str
    parity: Parity | None
    share_of_limits: float | None
    exported: Mapping[str, Any]
    exported_on: Mapping[str, Any]
    missed: tuple[str, ...]


@dataclass(frozen=True)
class BoxReport:
    """The findings for one machine.

    Attributes:
        processor: its name.
        int8_instructions: whether it has each instruction set that makes int8 fast.
        crops: number of crops compared.
        encoders: the image encoders that are meant for the device.
    """

    processor: str
    int8_instructions: Mapping[str, bool]
    crops: int
    encoders: tuple[EncoderOnBox, ...]

    @property
    def problems(self) -> list[str]:
        """A line for each limit that an encoder misses."""
        return [f"{encoder.file} on {encoder.device}: {text}" for encoder in self.encoders for text in encoder.missed]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"ok": not self.problems, "problems": self.problems, **asdict(self)}


def judge_on_box(
    bundle: Bundle, crops: UInt8Array, device: str, precisions: Sequence[Precision] = PRECISIONS
) -> BoxReport:
    """Compare the image encoders of a bundle that are meant for a device with fp32 on this machine's CPU.

    Args:
        bundle: opened.
        crops: from `gate_crops_of`.
        device: `cpu`, `cuda` or `trt`.
        precisions: of the encoders to compare.

    Raises:
        BackendError: fp32 does not run on the CPU.
        ParityError: fp32 on the CPU does not give the golden embeddings, so there is nothing to compare with.
        BundleError: the bundle has no image encoder for the device in one of the precisions that are named.
    """
    there = [one for one in bundle.artefacts if one.role == IMAGE_ROLE and device in one.devices]
    wanted = [one for one in there if one.precision in precisions]
    if not wanted or (precisions != PRECISIONS and len(wanted) < len(precisions)):
        for precision in precisions:
            bundle.artefact(IMAGE_ROLE, device=device, precision=precision)  # says what there is
    exact = bundle.artefact(IMAGE_ROLE)
    run = open_backend(bundle.read_bytes(exact.file)).run
    check_golden(bundle, IMAGE_ROLE, "fp32", run, f"{exact.file} on cpu")
    vectors, _ = bundle.statistics.sample_completions([{}], NUM_QUERIES, seed=0)
    queries = AttributeEncoder(bundle).encode(vectors)
    comparison = compare_with(run, f"{exact.file} on cpu", crops, queries, f"{len(crops)} crops")
    encoders = tuple(_judge(bundle, artefact, device, comparison) for artefact in wanted)
    return BoxReport(cpu_name(), int8_instructions(), len(crops), encoders)


def gate_crops_of(bundle: Bundle, folder: Path) -> UInt8Array:
    """Up to `NUM_CROPS` images below a folder, evenly chosen, as crops uint8 RGB `[N, H, W, 3]` of the bundle's size.

    Raises:
        InputError: there is no such folder, it has too few images, or one cannot be read.
    """
    files = [file.path for _, file in sorted(list_images(folder).files.items())]
    if len(files) < max(BATCHES):
        raise InputError(f"{folder}: {len(files)} images, the gate needs at least {max(BATCHES)} crops of people")
    chosen = np.linspace(0, len(files) - 1, min(NUM_CROPS, len(files))).round().astype(int)
    return np.stack([load_image(files[place], bundle.image_spec) for place in chosen])


def _judge(bundle: Bundle, artefact: Artefact, device: str, comparison: Comparison) -> EncoderOnBox:
    entry = next(entry for entry in bundle.manifest["artefacts"] if entry["file"] == artefact.file)
    parity: Parity | None = None
    share: float | None = None
    missed: tuple[str, ...] = ()
    try:
        run: EncodeBatch = open_backend(
            bundle.read_bytes(artefact.file), device=device, precision=artefact.precision
        ).run
        parity = measure_parity(artefact.file, run, comparison)
    except SalError as error:
        missed = (str(error),)
    else:
        missed = missed_limits(parity, artefact.precision)
        share = share_of_limits(parity, artefact.precision)
    return EncoderOnBox(
        file=artefact.file,
        precision=artefact.precision,
        device=device,
        parity=parity,
        share_of_limits=share,
        exported=artefact.parity,
        exported_on=entry.get("calibration", {}).get("processor", {}),
        missed=missed,
    )
