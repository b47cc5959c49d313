"""The gate on this machine, for `sal bundle verify --gate`."""

from __future__ import annotations

from sal_cli.show.terminal import console, print_json, printable, table
from sal_export.gates.on_box import BoxReport, EncoderOnBox


def print_gate(report: BoxReport, *, as_json: bool) -> None:
    """Print a row for each encoder, here and at the export, and a line for each limit that is missed."""
    if as_json:
        print_json(report.to_json())
        return
    has = ", ".join(name for name, there in report.int8_instructions.items() if there)
    print(f"processor   {printable(report.processor)}{f' ({has})' if has else ''}")
    print(f"crops       {report.crops}")
    made = table("encoder", "on", "mean cosine", "at the export", "1st percentile", "top-10", "of the limits", left=2)
    for encoder in report.encoders:
        made.add_row(encoder.file, encoder.device, *_cells(encoder))
    console().print(made)
    for encoder in report.encoders:
        if encoder.exported_on:
            print(f"{encoder.file} was measured at the export on {printable(encoder.exported_on['name'])}")
    print("\n".join(map(printable, report.problems)) if report.problems else "ok")


def _cells(encoder: EncoderOnBox) -> tuple[str, ...]:
    """Numbers of one encoder: here, at the export, and how much of the gate's limits it uses up."""
    exported = encoder.exported.get("mean_cosine")
    before = "-" if exported is None else f"{exported:.5f}"
    here = encoder.parity
    if here is None or encoder.share_of_limits is None:
        return ("-", before, "-", "-", "-")
    agreement = "-" if here.top10_agreement is None else f"{here.top10_agreement:.1%}"
    return f"{here.mean_cosine:.5f}", before, f"{here.p1_cosine:.5f}", agreement, f"{encoder.share_of_limits:.0%}"
