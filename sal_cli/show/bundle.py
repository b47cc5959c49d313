"""A bundle in short, its words, and its gate on this machine, for `sal bundle show`, `words` and `verify --gate`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sal_cli.show.terminal import SENSITIVE_MARK, console, print_json, printable, table
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle
from sal_runtime.query.schema import NONE_STATE
from sal_runtime.query.words import list_words

if TYPE_CHECKING:
    from sal_export.gates.on_box import BoxReport, EncoderOnBox

WIDTH = 80
INDENT = " " * 12
INSIDE = "  "
"""Begins the values of a group."""
METRICS = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10"}


def bundle_summary(bundle: Bundle) -> dict[str, Any]:
    """The bundle in short, for programs; metrics are fractions, None where nothing was measured."""
    schema = bundle.schema
    training = bundle.manifest["training"]
    return {
        "path": str(bundle.path),
        "name": bundle.name,
        "fingerprint": bundle.fingerprint,
        "created": bundle.manifest["created"],
        "sal_version": bundle.manifest["sal_version"],
        "image": bundle.image_spec.to_json(),
        "embedding_dim": bundle.embedding_dim,
        "schema": {
            "name": schema.name,
            "groups": len(schema.groups),
            "attributes": schema.num_bits,
            "sensitive": [group.name for group in schema.groups if group.sensitive],
        },
        "calibrated": bundle.calibration is not None,
        "dataset": training.get("dataset"),
        "backbone": training.get("backbone"),
        "metrics": _main_metrics(bundle.manifest["metrics"]),
        "artefacts": [
            {
                "role": artefact.role,
                "file": artefact.file,
                "precision": artefact.precision,
                "devices": list(artefact.devices),
                "bytes": artefact.size,
                "sha256": artefact.sha256,
                "parity": {
                    key: artefact.parity.get(key) for key in ("max_abs", "min_cosine", "top10_agreement", "inputs")
                },
                "metrics": _main_metrics(artefact.metrics),
            }
            for artefact in sorted(
                bundle.artefacts, key=lambda artefact: (artefact.role != IMAGE_ROLE, artefact.precision)
            )
        ],
        "refused": [
            {key: entry[key] for key in ("role", "precision", "devices", "refusals")}
            for entry in bundle.manifest.get("refused", [])
        ],
        "licence": bundle.manifest["licence"],
    }


def _main_metrics(metrics: Mapping[str, Any]) -> dict[str, float] | None:
    return {key: float(metrics[key]) for key in METRICS if key in metrics} or None


def print_summary(bundle: Bundle, *, as_json: bool) -> None:
    """Print the bundle in short: its input, its words, the differences of its encoders from PyTorch, its licence."""
    summary = bundle_summary(bundle)
    if as_json:
        print_json(summary)
        return
    image, schema = summary["image"], summary["schema"]
    sensitive = ", ".join(f"{name} {SENSITIVE_MARK}" for name in schema["sensitive"]) or "none is sensitive"
    lines = {
        "bundle": f"{summary['name']} ({summary['fingerprint'][:12]})",
        "made": f"{summary['created']} by sal {summary['sal_version']}",
        "trained on": ", ".join(str(value) for value in (summary["dataset"], summary["backbone"]) if value) or "-",
        "crops": f"{image['height']} x {image['width']} {image['colour']}, resized {image['resize']}",
        "attributes": f"{schema['attributes']} in {schema['groups']} groups ({schema['name']}): {sensitive}",
        "embedding": f"{summary['embedding_dim']} numbers",
        "likelihood": "calibrated" if summary["calibrated"] else "not calibrated",
        "test": _percentages(summary["metrics"]),
        "licence": summary["licence"],
    }
    print(f"{'path':<12}{summary['path']}")  # never wrapped, so that it can be copied
    for name, value in lines.items():
        print(
            textwrap.fill(value, WIDTH, initial_indent=f"{name:<12}", subsequent_indent=INDENT, break_long_words=False)
        )
    _print_artefacts(summary["artefacts"])
    for entry in summary["refused"]:
        text = f"{entry['precision']} for {'/'.join(entry['devices'])}: {'; '.join(entry['refusals'])}"
        print(textwrap.fill(text, WIDTH, initial_indent=f"{'refused':<12}", subsequent_indent=INDENT))


def _percentages(metrics: Mapping[str, float] | None) -> str:
    if metrics is None:
        return "not measured; `sal eval --attach` measures"
    return ", ".join(f"{METRICS[key]} {100 * value:.1f}" for key, value in metrics.items()) + " (percent)"


def _print_artefacts(artefacts: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each encoder, with its differences from PyTorch at the time of the export."""
    made = table("encoder", "precision", "for", "MB", "max abs", "min cosine", "top-10", "mAP", left=3)
    for artefact in artefacts:
        parity, metrics = artefact["parity"], artefact["metrics"] or {}
        made.add_row(
            artefact["role"].removesuffix("_encoder"),
            artefact["precision"],
            "/".join(artefact["devices"]),
            f"{artefact['bytes'] / 1e6:.2f}",
            _number(parity["max_abs"], ".1e"),
            _number(parity["min_cosine"], ".7f"),
            _number(parity["top10_agreement"], ".1%"),
            _number(metrics.get("mAP"), ".1%"),
        )
    console().print(made)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def print_words(bundle: Bundle, *, as_json: bool) -> None:
    """Print the words of a bundle: for each group its values, their synonyms, and how well each is recognised."""
    groups = list_words(bundle.schema, bundle.manifest["metrics"])
    if as_json:
        print_json({"bundle": bundle.name, "fingerprint": bundle.fingerprint, "groups": groups})
        return
    width = max(len(value["word"]) for group in groups for value in group["values"]) + len(INSIDE) + 1
    print(_filled("word", ["other words for it"], ("found", "right", "at 40", "people"), width))
    for group in groups:
        mark = f" {SENSITIVE_MARK}" if group["sensitive"] else ""
        values = [(f"{INSIDE}{value['word']}", value) for value in group["values"]]
        if group["group"] == group["values"][-1]["word"] and not group["synonyms"]:  # hat, and below it no-hat
            values = [(f"{group['group']}{mark}", group["values"][-1]), *values[:-1]]
        else:
            print(_filled(f"{group['group']}{mark}", group["synonyms"], ("", "", "", ""), width))
        for word, value in values:
            rates = [_number(value[rate], ".0%") for rate in ("recognised", "precision", "precision_at_forty")]
            print(_filled(word, value["synonyms"], (*rates, _number(value["people"], ",")), width))
    print("\nfound: in this share of the test images that show it, it is recognised")
    print("right: of the images in which it is recognised, these show it")
    print("at 40: the same at the threshold that finds 40 % of those that show it")
    print(f"people: so many test people show it; {SENSITIVE_MARK} sensitive")
    if any(value["word"] == NONE_STATE for group in groups for value in group["values"]):
        print("none: no other value of the group fits, or nothing of it is seen")
    print("Plurals, no, not and without are understood: docs/query_language.md")


def _filled(word: str, synonyms: Sequence[str], measured: Sequence[str], width: int) -> str:
    """A line of the table: the word, what was measured of it, and its synonyms on as many lines as they need."""
    *rates, people = measured
    start = f"{printable(word):<{width}}{' '.join(f'{rate:>5}' for rate in rates)} {people:>6}  "
    return textwrap.fill(
        start + printable(", ".join(synonyms)),
        WIDTH,
        subsequent_indent=" " * len(start),
        break_on_hyphens=False,
        break_long_words=False,
    )


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
