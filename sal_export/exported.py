"""An encoder on its way into a bundle, with the findings of the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from sal_export.gates.parity import Parity
from sal_export.gates.retrieval import Retrieval
from sal_runtime.arrays import Precision


@dataclass(frozen=True)
class ExportedEncoder:
    """One .onnx file that has passed the gates.

    Attributes:
        role: `image_encoder` or `attribute_encoder`.
        file: name inside the bundle.
        precision: of its arithmetic.
        devices: any of `cpu`, `cuda` and `trt`, which run it.
        content: of the file.
        producer: program and settings that made it.
        parity: comparison with its source.
        retrieval: mAP and rank-1 on the evaluation protocol; None if they were not measured.
        calibration: of int8: layout, method, crops, mean cosine of each method that was tried.
    """

    role: str
    file: str
    precision: Precision
    devices: tuple[str, ...]
    content: bytes
    producer: str
    parity: Parity
    retrieval: Retrieval | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def manifest_entry(self) -> dict[str, Any]:
        """The entry in `artefacts` of the manifest."""
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
    """Print the findings of the gates: cosines to the source, mAP and rank-1 in percent."""
    table = Table(title="export gate", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("encoder", no_wrap=True)
    for column in ("max abs", "min cos", "1st pct", "mean", "top-10", "mAP", "rank-1"):
        table.add_column(column, justify="right", no_wrap=True)
    for encoder in encoders:
        parity, retrieval = encoder.parity, encoder.retrieval
        name = f"{encoder.role.removesuffix('_encoder')} {encoder.precision}"
        table.add_row(
            f"{name} (TensorRT)" if encoder.devices == ("trt",) else name,
            f"{parity.max_abs:.0e}",
            *(f"{value:.4f}" for value in (parity.min_cosine, parity.p1_cosine, parity.mean_cosine)),
            "" if parity.top10_agreement is None else f"{100 * parity.top10_agreement:.1f}",
            *(("", "") if retrieval is None else (f"{100 * retrieval.mAP:.2f}", f"{100 * retrieval.rank1:.2f}")),
        )
    console.print(table)
