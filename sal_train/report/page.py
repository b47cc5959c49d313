"""The report as one self-contained HTML page: pictures inside, no script, no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sal_runtime.arrays import UInt8Array
from sal_runtime.images.pixels import import_opencv
from sal_runtime.version import __version__
from sal_train.checkpoint import Run
from sal_train.evaluation.attribute_recognition import full_name, strength
from sal_train.evaluation.verdict import attributes_verdict, search_verdict
from sal_train.report.curves import line_chart
from sal_train.report.measure import AskedQuery, HeldOut

SENSITIVE_MARK = "◆"
JPEG_QUALITY = 85
STRENGTHS = {"good": "", "weak": "weak", "chance": "no better than chance", "few": "too few people", "unknown": "-"}
STYLE = """
:root { color-scheme: light dark; --page: #f6f7f8; --card: #fff; --ink: #1c2126; --faint: #656d76; --line: #dde1e5;
  --bar: #2f6fb2; --track: #e7eaee; --mark: #a15c00; --right: #2c8a4b; --wrong: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --card: #1e2227; --ink: #e6e9ec; --faint: #9aa3ad;
  --line: #31373e; --bar: #5b9bdc; --track: #2c3239; --mark: #e0a04a; --right: #4fbf73; --wrong: #e8695b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 980px; padding: 24px; background: var(--page); color: var(--ink);
  font: 14px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 4px; font-size: 22px; overflow-wrap: anywhere; } h2 { margin: 30px 0 8px; font-size: 17px; }
.facts, .note, figcaption, footer { color: var(--faint); overflow-wrap: anywhere; } .note { max-width: 80ch; }
.verdict { margin: 14px 0; padding: 12px 16px; border-left: 5px solid var(--bar); background: var(--card);
  border-radius: 4px; font-size: 16px; } .verdict p { margin: 0 0 4px; } .warning { border-color: var(--mark); }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 12px; }
figure, .table, article, pre { margin: 0; padding: 10px; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; overflow-x: auto; }
svg { width: 100%; height: auto; } svg text { fill: var(--faint); font-size: 11px; }
polyline { fill: none; stroke: var(--bar); stroke-width: 2; } circle { fill: var(--bar); }
.axis { stroke: var(--line); }
.mark { stroke: var(--mark); stroke-dasharray: 3 3; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 8px; text-align: right; border-bottom: 1px solid var(--line); } th { font-weight: 600; }
th:first-child, td:first-child, td:last-child { text-align: left; overflow-wrap: anywhere; }
.scale { display: inline-block; position: relative; width: 110px; height: 8px; background: var(--track);
  border-radius: 4px; vertical-align: middle; }
.scale i { position: absolute; left: 0; height: 8px; background: var(--bar); border-radius: 4px; }
.scale b { position: absolute; left: 50%; top: -3px; width: 1px; height: 14px; background: var(--mark); }
.weak, .chance { color: var(--mark); } .sensitive { color: var(--mark); }
article { margin-bottom: 10px; } article p { margin: 0 0 6px; overflow-wrap: anywhere; }
.hits { display: flex; gap: 6px; flex-wrap: wrap; } .hits img { height: 128px; width: auto; border: 3px solid; }
.hits span { display: flex; flex-direction: column; align-items: center; font-size: 12px; }
.right { color: var(--right); }
.wrong { color: var(--wrong); } .other { color: var(--faint); }
.hits img { border-color: currentColor; border-radius: 4px; }
footer { margin-top: 28px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 12px; }
"""


def render_report(
    run: Run, epochs: Sequence[Mapping[str, Any]], held_out: HeldOut | None, commands: Sequence[tuple[str, str]]
) -> str:
    """The page.

    Args:
        run: the finished run.
        epochs: its history, one entry per epoch.
        held_out: the run on its held-out categories; None if it held none out.
        commands: what to do next: what it is for, and the command to copy.
    """
    name, facts, model = escape(run.path.resolve().name), run.provenance, run.config.model
    steps = "".join(f"<p>{escape(what)}</p><pre>{escape(command)}</pre>" for what, command in commands)
    body = _not_measured() if held_out is None else _measured(run, held_out)
    verdict, rest = body
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{name} · sal training report</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{name}</h1>
<p class="facts">{escape(facts["dataset"])} · {facts["train_images"]:,} training images in
{facts["train_categories"]:,} categories · {escape(facts["backbone"])} at {model.height}x{model.width}
· {facts["epochs"]} epochs, {facts["train_seconds"] / 60:.1f} min · {escape(facts["created"])}</p>
{verdict}
<h2>Training</h2>
{_curves(run, epochs)}
{rest}
<h2>What to do next</h2>
{steps}
<footer><p>Written by sal {__version__}. The pictures are training images: treat this file as you treat them. Held-out
categories chose the epoch that was saved, so the test split (sal eval) may be a little worse.</p></footer>
</body>
</html>
"""


def _measured(run: Run, held_out: HeldOut) -> tuple[str, str]:
    """Verdict and sections of a run that held categories out."""
    search, attributes = search_verdict(held_out.metrics), attributes_verdict(held_out.recognition)
    good = search.startswith(("GOOD", "FAIR"))
    verdict = (
        f'<div class="verdict{"" if good else " warning"}"><p><b>{escape(search)}</b></p>'
        f"<p>{escape(attributes)}</p>{''.join(f'<p>{text}</p>' for text in _advice(held_out, good))}</div>\n"
        f'<p class="note">Measured on {held_out.metrics["num_queries"]:,} categories (combinations of attributes) that '
        f"training never saw, {held_out.metrics['num_gallery']:,} images.</p>"
    )
    best = "".join(_query(query) for query in held_out.best)
    worst = "".join(_query(query) for query in held_out.worst)
    sheets = f"<h2>Best queries</h2>{best}" + (f"<h2>Worst queries</h2>{worst}" if worst else "")
    return verdict, _search_table(held_out.metrics) + _attribute_table(run, held_out.recognition) + sheets


def _advice(held_out: HeldOut, is_good: bool) -> list[str]:
    """What would make the model better, one sentence each."""
    advice = []
    if any(strength(rates) == "chance" for rates in held_out.recognition["by_attribute"].values()):
        advice.append("An attribute no better than chance needs more people who have it, or should be left out.")
    if not is_good:
        advice.append("More people in more combinations of attributes help most; sal data check names what is rare.")
    return advice


def _not_measured() -> tuple[str, str]:
    return (
        '<div class="verdict warning"><p><b>NOT MEASURED: this run held no categories out.</b></p><p>Measure it on the '
        "test split (below), or train with data.validation_fraction = 0.1.</p></div>",
        "",
    )


def _curves(run: Run, epochs: Sequence[Mapping[str, Any]]) -> str:
    """Loss and validation over the epochs; a dashed line marks the epoch that was saved."""
    saved = run.provenance["epoch"]
    validated = [entry for entry in epochs if "validation_mAP" in entry]
    numbers = [entry["total_epochs"] for entry in validated]
    charts = [
        line_chart(
            "loss (sum of all terms)",
            "",
            [entry["total_epochs"] for entry in epochs],
            [sum(entry["losses"].values()) for entry in epochs],
            saved,
        ),
        line_chart("held-out mAP", "%", numbers, [100 * entry["validation_mAP"] for entry in validated], saved),
        line_chart("held-out rank-1", "%", numbers, [100 * entry["validation_rank1"] for entry in validated], saved),
    ]
    note = f'<p class="note">The dashed line marks epoch {saved}, whose model was saved.</p>'
    return f'<div class="curves">{"".join(charts)}</div>\n{note}'


def _search_table(metrics: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{label}</td><td>{100 * metrics[name]:.1f} ±{100 * metrics['standard_error'][name]:.1f}</td>"
        f"<td>{100 * metrics['random'][name]:.1f}</td><td></td></tr>"
        for name, label in (
            ("mAP", "mAP (mean average precision)"),
            ("rank1", "rank-1: the first hit is right"),
            ("rank5", "rank-5: one of the first five is"),
            ("rank10", "rank-10: one of the first ten is"),
        )
    )
    head = "<tr><th>full descriptions, percent</th><th>model</th><th>chance</th><th></th></tr>"
    return f'<h2>Search</h2><div class="table"><table>{head}{rows}</table></div>'


def _attribute_table(run: Run, recognition: Mapping[str, Any]) -> str:
    sensitive = {bit for group in run.schema.groups if group.sensitive for bit in group.bits}
    rows = "".join(
        _attribute_row(name, rates, bit in sensitive)
        for bit, (name, rates) in enumerate(recognition["by_attribute"].items())
    )
    head = "".join(
        f"<th>{text}</th>"
        for text in ("attribute", "people", "images", "share", "found", "rejected", "accuracy", "chance 50", "")
    )
    return (
        f'<h2>Attributes</h2><div class="table"><table><tr>{head}</tr>{rows}</table></div>\n'
        '<p class="note">Found: of images with the attribute, those in which it is recognised. Rejected: of images '
        "without it, those in which it is not. Accuracy: the mean of both; 50 is chance, however rare the attribute. "
        f"{SENSITIVE_MARK} marks sensitive attributes.</p>"
    )


def _attribute_row(name: str, rates: Mapping[str, Any], is_sensitive: bool) -> str:
    shares = (rates[key] for key in ("share", "true_positive_rate", "true_negative_rate", "balanced_accuracy"))
    cells = "".join(f"<td>{'-' if share is None else f'{100 * share:.0f}'}</td>" for share in shares)
    balanced, word = rates["balanced_accuracy"], strength(rates)
    bar = "" if balanced is None else f'<div class="scale"><i style="width: {100 * balanced:.0f}%"></i><b></b></div>'
    mark = f' <span class="sensitive" title="sensitive attribute">{SENSITIVE_MARK}</span>' if is_sensitive else ""
    return (
        f"<tr><td>{escape(full_name(name, rates['group']))}{mark}</td>"
        f"<td>{rates['people']:,}</td><td>{rates['positives']:,}</td>{cells}"
        f'<td>{bar}</td><td class="{word}">{STRENGTHS[word]}</td></tr>'
    )


def _query(query: AskedQuery) -> str:
    words = ", ".join(query.words) or "none of the attributes"
    shown = zip(query.hits, query.is_right, strict=True)
    hits = "".join(
        _hit(rank, image, "right" if right else "wrong" if rank <= query.num_relevant else "other")
        for rank, (image, right) in enumerate(shown, start=1)
    )
    images = "1 image" if query.num_relevant == 1 else f"{query.num_relevant} images"
    return (
        f"<article><p><b>{escape(words)}</b> · average precision {100 * query.precision:.0f} · {images} match</p>"
        f'<div class="hits">{hits}</div></article>'
    )


def _hit(rank: int, image: UInt8Array, word: str) -> str:
    """One picture: `right`, `wrong` in the place of one that matches, or `other` behind as many hits as match."""
    cv2 = import_opencv()
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    text = base64.b64encode(bytes(data)).decode()
    return (
        f'<span class="{word}"><img src="data:image/jpeg;base64,{text}" alt="hit {rank}, {word}">{rank} {word}</span>'
    )
