"""MODEL_CARD.md: training data, test numbers, limits and licence of a bundle, for its users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sal_runtime.query.schema import AttributeSchema

METRIC_KEYS = ("mAP", "rank1", "rank5", "rank10")


def model_card(manifest: Mapping[str, Any], schema: AttributeSchema) -> str:
    """The card as Markdown, made from the manifest.

    Args:
        manifest: with name, image, training, metrics, licence, artefacts, and the encoders that the gate refused.
        schema: of the bundle.
    """
    training = manifest["training"]
    image = manifest["image"]
    parts = [
        f"# {manifest['name']}\n",
        "Encoders for attribute-based person search (SAL, Cao et al., ECCV 2020): crops of people and descriptions by "
        f"attributes, into one space of {manifest['embedding_dim']} dimensions.\n",
        "## Training\n",
        _table(
            ("", ""),
            [
                ("data set", f"{training['dataset']}: {training['attribution']}"),
                ("images, categories", _trained_on(training)),
                ("held out to choose settings", f"{training['held_out_categories']} categories"),
                ("backbone", training["backbone"]),
                ("initial weights", _pretrained(training["pretrained"], training["backbone"])),
                *_taught_by(training),
                ("input", f"{image['height']} x {image['width']} pixels, RGB"),
                ("epochs, seed", f"{training['epoch']} of {training['epochs']}, {training['seed']}"),
                ("computed on", _computed_on(training["versions"])),
            ],
        ),
        _metrics(manifest["metrics"]),
        _precisions(manifest["artefacts"], manifest.get("refused", [])),
        _likelihood(manifest["metrics"].get("partial", {})),
        _attributes(schema, manifest["metrics"].get("recognition")),
        LIMITS,
        f"## Licence\n\n{manifest['licence']}\n",
    ]
    return "\n".join(part for part in parts if part)


OSNET_ORIGIN = (
    "Open Model Zoo's networks for person re-identification, Apache-2.0: they have seen identity labels of people, "
    "very probably those of Market-1501's training split, and other people's crops"
)

LIMITS = """## Use and limits

This model is for research and for engineers who build and test video-analytics software. It finds candidates among
crops of people by clothing, bags and the like, for a person to review.

It must not be used to identify people, to decide anything about a person without human review, to search for people by
ethnicity, religion, health, sexual orientation or political opinion, or where the law forbids biometric categorisation
(in the European Union see the AI Act, Article 5 and Annex III). Gender and age are a labeller's impression of
low-resolution pictures, not facts about a person.

Wrong hits are normal, even among the first ones (the rank-1 above is the share of queries whose first hit is right): a
hit is a candidate, never proof. Quality drops on cameras, countries, seasons and crops unlike those of the training
data, for rare attributes and for people who are partly hidden.
"""


def _trained_on(training: Mapping[str, Any]) -> str:
    text = f"{training['train_images']:,}, {training['train_categories']:,}"
    if auxiliary := training.get("auxiliary_images"):
        text += f"; {auxiliary:,} of the images are auxiliary: they are only trained on, and counted in no statistics"
    return text


def _computed_on(versions: Mapping[str, str]) -> str:
    device = versions["cuda_device"]
    return f"{'CPU' if device == 'none' else device}, PyTorch {versions['torch']}"


def _pretrained(report: Mapping[str, Any], backbone: str) -> str:
    text = str(report["source"])
    if backbone.startswith("osnet") and text != "none":
        text += f" ({OSNET_ORIGIN})"
    if trained_on := report.get("trained_on"):
        text += f", of a run trained on {' and on '.join(trained_on)}"
    if report["missing"]:
        text += f"; these layers were NOT in the file and started at random: {', '.join(report['missing'])}"
    return text


def _taught_by(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The teachers, if there were any: this model inherits their data and initial weights."""
    return [
        (
            "taught by",
            f"{teacher['run']} ({teacher['backbone']}), trained on {teacher['dataset']}: {teacher['attribution']}; "
            f"{teacher['licence']}; its initial weights {_pretrained(teacher['pretrained'], teacher['backbone'])}",
        )
        for teacher in (training.get("teacher"), *training.get("other_teachers", ()))
        if teacher is not None
    ]


def _metrics(metrics: Mapping[str, Any]) -> str:
    """Test numbers in percent, or a note that there are none."""
    if not metrics:
        return "## Test numbers\n\nNot measured yet; `sal eval --bundle ... --attach` writes them here.\n"
    rows = []
    parts = {"all": metrics, "unseen": metrics.get("unseen"), "seen": metrics.get("seen")}
    for name, values in (parts | metrics.get("by_source", {})).items():
        if values and values.get("num_queries"):
            numbers = [f"{100 * values[key]:.1f}" for key in METRIC_KEYS]
            rows.append((f"{name} ({values['num_queries']} queries)", *numbers))
    for key, title in (("attribute_likelihood", "ranked by its attribute head"), ("match", "in the order of search")):
        ranked = metrics.get(key, {})
        for name, values in ({"": ranked} | ranked.get("by_source", {})).items():
            if values:
                numbers = [f"{100 * values[key]:.1f}" for key in METRIC_KEYS]
                rows.append((f"{title}{', ' if name else ''}{name}", *numbers))
    record = metrics["record"]
    among = ""
    if "by_source" in metrics:
        among = "; each query searches the images of its own data set"
    text = f"## Test numbers\n\n{record['data']['name']}, {record['data']['num_images']:,} gallery images{among}, "
    text += f"percent; the exported encoders, `{record['command']}`.\n\n"
    return text + _table(("queries", "mAP", "rank-1", "rank-5", "rank-10"), rows)


def _precisions(artefacts: Sequence[Mapping[str, Any]], refused: Sequence[Mapping[str, Any]]) -> str:
    """What each image encoder finds on the test split, and what the gate refused; empty if there is only fp32."""
    measured = [entry for entry in artefacts if "mAP" in entry.get("metrics", {})]
    rows = [
        (
            entry["precision"],
            "/".join(entry["devices"]),
            *(f"{100 * entry['metrics'][key]:.1f}" for key in METRIC_KEYS[:2]),
        )
        for entry in measured
    ]
    parts = [_table(("image encoder", "for", "mAP", "rank-1"), rows)] if rows else []
    for entry in measured:
        if processor := entry.get("calibration", {}).get("processor"):
            found = [name for name, has in processor["int8_instructions"].items() if has]
            parts.append(
                f"int8 for {'/'.join(entry['devices'])}: measured on {processor['name']} ({', '.join(found)}).\n"
            )
    parts += [
        f"{entry['precision']} for {'/'.join(entry['devices'])} is not in this bundle; the gate refused it: "
        f"{'; '.join(entry['refusals'])}.\n"
        for entry in refused
    ]
    return "\n".join(["## Precisions\n", *parts]) if parts else ""


def _likelihood(partial: Mapping[str, Any]) -> str:
    """Reliability of the likelihood of match, and the cost of a threshold on it; empty if not measured."""
    if "operating_points" not in partial:
        return ""
    stated = _calibration_errors(partial["calibration"])
    for name, part in partial.get("calibration_by_source", {}).items():
        stated += f"; on {name} alone {_calibration_errors(part)}"
    text = (
        "## Likelihood of match\n\nMeasured for descriptions with one to all attributes, on the same test images. The "
        f"expected calibration error, in points, is {stated}. Hits above a likelihood, in percent:\n\n"
    )
    rows = []
    for point in partial["operating_points"]:
        rates = [_percent(point[name]) for name in ("precision", "recall")]
        others = "-" if point["false_positive_rate"] is None else f"{100 * point['false_positive_rate']:.2f}"
        rows.append((f"{point['min_likelihood']}", f"{point['shown_per_query']:,.0f}", *rates, others))
    heading = ("likelihood", "images per query", "of them match", "of all matches shown", "of all others shown")
    return text + _table(heading, rows)


def _calibration_errors(measured: Mapping[str, Any]) -> str:
    errors = [f"{100 * measured[part]['expected_calibration_error']:.1f}" for part in ("all_pairs", "top20")]
    return f"{errors[0]} over all pairs, {errors[1]} over the first 20 hits of each query"


def _attributes(schema: AttributeSchema, recognition: Mapping[str, Any] | None) -> str:
    """The attributes and, once measured, how often each is recognised on people with and without it."""
    rows: list[tuple[str, ...]] = []
    for group in schema.groups:
        name = group.name + (" (sensitive)" if group.sensitive else "")
        if recognition is None:
            rows.append((name, ", ".join(state.name for state in group.states)))
            continue
        for state in group.states:
            if state.bit is not None:
                value = state.name if group.kind == "exclusive" else f"{state.name} (or {group.states[0].name})"
                rates = recognition["by_attribute"][schema.bit_names[state.bit]]
                keys = ("true_positive_rate", "precision", "true_negative_rate", "precision_at_forty")
                measured = (_percent(rates.get(key)) for key in keys)
                rows.append((name, value, f"{rates['positives']:,}", _count(rates.get("people")), *measured))
    if recognition is None:
        return "## Attributes\n\n" + _table(("attribute", "values"), rows)
    explained = (
        "How far the evidence of a hit can be trusted: the number of test images and people with the attribute, the "
        "share of these images on which it is recognised, of the images on which it is recognised those that have it, "
        "and of images without it those on which it is rejected, in percent at probability 1/2. For rare "
        "attributes that is a high threshold; the last column is the share of right images at the best threshold that "
        "finds 40 % of those with the attribute. Each attribute is measured on the test images of the data sets that "
        "label it.\n\n"
    )
    heading = ("attribute", "value", "images", "people", "recognised", "right", "rejected", "right at 40 %")
    return "## Attributes\n\n" + explained + _table(heading, rows)


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.0f}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
