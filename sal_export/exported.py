"""An encoder on its way into a bundle, with the findings of the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from sal_export.gates.parity import Parity
from sal_export.gates.retrieval import Loss, Retrieval, doubts
from sal_runtime.arrays import Precision


@dataclass(frozen=True)
class ExportedEncoder:
    """One .onnx file that has been through the gates.

    Attributes:
        role: `image_encoder` or `attribute_encoder`.
        file: name inside the bundle.
        precision: of its arithmetic.
        devices: any of `cpu`, `cuda` and `trt`, which run it.
        content: of the file.
        producer: program and settings that made it.
        parity: comparison with its source; None if its output could not be compared.
        retrieval: mAP and rank-1 on the evaluation protocol; None if they were not measured.
        loss: what it finds less than fp32; None if that was not measured.
        calibration: of int8: layout, method, crops, mean cosine of each method that was tried, processor of the gate.
        refusals: why the gates refuse it, one clause each; empty if it passed.
    """

    role: str
    file: str
    precision: Precision
    devices: tuple[str, ...]
    content: bytes
    producer: str
    parity: Parity | None = None
    retrieval: Retrieval | None = None
    loss: Loss | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()

    @property
    def asked_as(self) -> str:
        """The name under which `export_run` takes it: its precision, or `int8-trt`."""
        return "int8-trt" if self.precision == "int8" and self.devices == ("trt",) else self.precision

    def manifest_entry(self) -> dict[str, Any]:
        """The entry in `artefacts` of the manifest, or in `refused`."""
        entry: dict[str, Any] = {
            "role": self.role,
            "file": self.file,
            "precision": self.precision,
            "devices": list(self.devices),
            "producer": self.producer,
            "parity": {} if self.parity is None else self.parity.to_json(),
            "metrics": {} if self.retrieval is None else self.retrieval.to_json(),
        }
        optional = {
            "loss": None if self.loss is None else self.loss.to_json(),
            "calibration": dict(self.calibration),
            "refusals": list(self.refusals),
        }
        return entry | {key: value for key, value in optional.items() if value}


def encoder_from_manifest(entry: Mapping[str, Any], content: bytes) -> ExportedEncoder:
    """An encoder of a bundle, to make others from.

    Args:
        entry: in `artefacts` of the manifest.
        content: of its file.
    """
    return ExportedEncoder(
        role=entry["role"],
        file=entry["file"],
        precision=entry["precision"],
        devices=tuple(entry["devices"]),
        content=content,
        producer=entry["producer"],
        parity=Parity(**entry["parity"]),
    )


def print_gate(encoders: Sequence[ExportedEncoder], console: Console) -> None:
    """Print the findings of the gates, one column for each image encoder, and what the verdicts rest on."""
    table = Table(title="export gate", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("image encoder", no_wrap=True)
    for encoder in encoders:
        table.add_column(encoder.asked_as, justify="right", no_wrap=True)
    for name, cells in zip(_ROWS, zip(*map(_cells, encoders), strict=True), strict=True):
        table.add_row(name, *cells)
    console.print(table)
    for encoder in encoders:
        for reason in encoder.refusals:
            console.print(f"{encoder.asked_as} is refused: {reason}", highlight=False)
        for doubt in () if encoder.loss is None or encoder.refusals else doubts(encoder.loss, encoder.precision):
            console.print(f"{encoder.asked_as} passes, but {doubt}", highlight=False)


_ROWS = (
    *("largest difference", "smallest cosine", "first percentile", "mean cosine", "same first ten (%)"),
    *("mAP (%)", "mAP lost (points)", "rank-1 (%)", "rank-1 lost (points)", "verdict"),
)


def _cells(encoder: ExportedEncoder) -> tuple[str, ...]:
    """The cells of `_ROWS` for one encoder."""
    parity, retrieval, loss = encoder.parity, encoder.retrieval, encoder.loss
    cells: tuple[str, ...] = ("-",) * 5
    if parity is not None:
        top = "-" if parity.top10_agreement is None else f"{100 * parity.top10_agreement:.1f}"
        cosines = (f"{value:.5f}" for value in (parity.min_cosine, parity.p1_cosine, parity.mean_cosine))
        cells = (f"{parity.max_abs:.0e}", *cosines, top)
    found = ("-", "-") if retrieval is None else (f"{100 * retrieval.mAP:.2f}", f"{100 * retrieval.rank1:.2f}")
    lost = ("-", "-") if loss is None else (f"{100 * loss.mAP:.2f}", f"{100 * loss.rank1:.2f}")
    return (*cells, found[0], lost[0], found[1], lost[1], "refused" if encoder.refusals else "passed")
