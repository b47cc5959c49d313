"""An encoder on its way into a bundle, with what the gate found about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from sal_export.gates.parity import Parity
from sal_export.gates.retrieval import Retrieval


@dataclass(frozen=True)
class ExportedEncoder:
    """One .onnx file that has passed the gate.

    Attributes:
        role: `image_encoder` or `attribute_encoder`.
        file: name inside the bundle.
        precision: fp32, fp16 or int8.
        devices: that are to run it.
        content: of the file.
        producer: what made it.
        parity: how it compared with its source.
        retrieval: what it finds; None where that was not measured.
        calibration: of int8: method, crops, what else was tried.
    """

    role: str
    file: str
    precision: str
    devices: tuple[str, ...]
    content: bytes
    producer: str
    parity: Parity
    retrieval: Retrieval | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def manifest_entry(self) -> dict[str, Any]:
        """For `artefacts` of the manifest."""
        entry = {
            "role": self.role,
            "file": self.file,
            "precision": self.precision,
            "devices": list(self.devices),
            "producer": self.producer,
            "parity": self.parity.to_json(),
            "metrics": {} if self.retrieval is None else self.retrieval.to_json(),
        }
        return entry | {"calibration": dict(self.calibration)} if self.calibration else entry


def print_gate(encoders: Sequence[ExportedEncoder], console: Console) -> None:
    """The gate's findings as a table; cosines are to the source, mAP and rank-1 in percent."""
    table = Table(title="export gate", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("encoder", no_wrap=True)
    for column in ("max abs", "min cos", "1st pct", "mean", "top-10", "mAP", "rank-1"):
        table.add_column(column, justify="right", no_wrap=True)
    for encoder in encoders:
        parity, found = encoder.parity, encoder.retrieval
        name = f"{encoder.role.removesuffix('_encoder')} {encoder.precision}"
        table.add_row(
            f"{name} (TensorRT)" if encoder.devices == ("trt",) else name,
            f"{parity.max_abs:.0e}",
            *(f"{value:.4f}" for value in (parity.min_cosine, parity.p1_cosine, parity.mean_cosine)),
            "" if parity.top10_agreement is None else f"{100 * parity.top10_agreement:.1f}",
            *(("", "") if found is None else (f"{100 * found.mAP:.2f}", f"{100 * found.rank1:.2f}")),
        )
    console.print(table)
