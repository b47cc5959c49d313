"""The answer to a search as one self-contained HTML file: pictures inside, no script, no network."""

from __future__ import annotations

import base64
from datetime import datetime
from html import escape

from sal_cli.show.terminal import SENSITIVE_MARK
from sal_cli.show.thumbnails import encode_jpeg, load_thumbnail
from sal_runtime.gallery.moments import moment_text
from sal_runtime.matching.result import AskedTerm, Hit, SearchResult

PICTURE = (256, 128)
"""Height and width of the box a picture is fitted into, pixels."""

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f8; --card: #fff; --ink: #1c2126; --faint: #656d76; --line: #dde1e5;
  --bar: #2f6fb2; --track: #e7eaee; --mark: #a15c00; --box: #e9ebee; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --card: #1e2227; --ink: #e6e9ec; --faint: #9aa3ad;
  --line: #31373e; --bar: #5b9bdc; --track: #2c3239; --mark: #e0a04a; --box: #2a2f36; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 24px; background: var(--page); color: var(--ink); font: 14px/1.45 system-ui, sans-serif; }
header, main, footer { max-width: 1240px; margin: 0 auto; }
h1 { margin: 0 0 10px; font: 600 22px/1.3 ui-monospace, monospace; overflow-wrap: anywhere; }
.terms { list-style: none; display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 10px; padding: 0; }
.terms li { padding: 2px 10px; border: 1px solid var(--line); border-radius: 12px; background: var(--card); }
.sensitive { color: var(--mark); }
.facts { margin: 0 0 20px; color: var(--faint); overflow-wrap: anywhere; }
.note { margin: 0 0 10px; color: var(--mark); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 12px; }
article { display: flex; gap: 12px; padding: 10px; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; break-inside: avoid; }
.picture { flex: none; width: 128px; height: 256px; display: flex; align-items: center; justify-content: center;
  background: var(--box); border-radius: 4px; color: var(--faint); overflow: hidden; }
.text { flex: 1; min-width: 0; }
.rank { font-size: 18px; font-weight: 600; }
.uri { margin: 0 0 6px; color: var(--faint); font-size: 12px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: 1fr auto; margin: 0 0 8px; }
dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; font-weight: 600; }
.evidence { list-style: none; margin: 0; padding: 8px 0 0; border-top: 1px solid var(--line); font-size: 12px; }
.evidence li { display: grid; grid-template-columns: 1fr auto; gap: 0 8px; margin-bottom: 5px; }
.evidence span { overflow-wrap: anywhere; }
.evidence b { font-weight: 400; font-variant-numeric: tabular-nums; }
.track { grid-column: 1 / 3; height: 5px; border-radius: 3px; background: var(--track); }
.track i { display: block; height: 5px; border-radius: 3px; background: var(--bar); }
footer { margin-top: 20px; padding-top: 12px; border-top: 1px solid var(--line); color: var(--faint); font-size: 12px; }
footer p { margin: 0 0 6px; max-width: 90ch; }
details { margin: 0 0 12px; color: var(--ink); }
details li { overflow-wrap: anywhere; }
"""


def render_html(result: SearchResult) -> str:
    """A page with a card per hit: picture, score, likelihood and the evidence for each asked term."""
    cards = "\n".join(_card(hit, result.terms) for hit in result.hits)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(result.query)} · sal</title>
<style>{_STYLE}</style>
</head>
<body>
{_header(result)}
<main>
{cards}
</main>
{_footer(result)}
</body>
</html>
"""


def _header(result: SearchResult) -> str:
    terms = "".join(f"<li>{_marked(term)}</li>" for term in result.terms)
    only = escape("".join(f" · only {condition}" for condition in result.conditions))
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in result.notes)
    moment = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"""<header>
<h1>{escape(result.query)}</h1>
<ul class="terms" aria-label="The query as understood">{terms}</ul>
<p class="facts">The best {len(result.hits):,} of {result.num_items:,} images in {escape(result.gallery)}{only} ·
encoders: {escape(result.bundle_name)} ({result.bundle_fingerprint[:12]}) · {moment}</p>
{notes}</header>"""


def _card(hit: Hit, terms: tuple[AskedTerm, ...]) -> str:
    likelihood = "" if hit.likelihood is None else f"<dt>likelihood of match</dt><dd>{hit.likelihood:.0%}</dd>"
    evidence = "".join(_evidence(term, hit.evidence[term.text]) for term in terms)
    return f"""<article>
<div class="picture">{_picture(hit)}</div>
<div class="text">
<div class="rank">{hit.rank}</div>
<p class="uri">{escape(hit.uri)}</p>{_seen(hit)}
<dl><dt>score</dt><dd>{hit.score:.3f}</dd>{likelihood}</dl>
<ul class="evidence">{evidence}</ul>
</div>
</article>"""


def _seen(hit: Hit) -> str:
    """Camera, time and metadata of the image, as far as they are known."""
    item = hit.item
    known = [] if item.camera is None else [item.camera]
    if item.captured_at is not None:
        known.append(moment_text(item.captured_at))
    known += item.metadata.values()
    return f'\n<p class="uri">{escape(" · ".join(known))}</p>' if known else ""


def _picture(hit: Hit) -> str:
    thumbnail = load_thumbnail(hit.path, *PICTURE)
    if thumbnail is None:
        return "image gone"
    height, width = thumbnail.shape[:2]
    data = base64.b64encode(encode_jpeg(thumbnail)).decode()
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="hit {hit.rank}">'


def _evidence(term: AskedTerm, probability: float) -> str:
    return (
        f"<li><span>{_marked(term)}</span><b>{probability:.0%}</b>"
        f'<div class="track"><i style="width: {100 * probability:.1f}%"></i></div></li>'
    )


def _marked(term: AskedTerm) -> str:
    mark = f' <span class="sensitive" title="sensitive attribute">{SENSITIVE_MARK}</span>' if term.sensitive else ""
    return escape(term.understood) + mark


def _footer(result: SearchResult) -> str:
    failed = "".join(f"<li>{escape(path)}: {escape(reason)}</li>" for path, reason in result.failed)
    skipped = f"<details open><summary>{len(result.failed)} skipped</summary><ul>{failed}</ul></details>"
    sensitive = (
        f'<p><span class="sensitive">{SENSITIVE_MARK}</span> asks for a sensitive attribute. Use it only where you '
        "may; it is an impression from a picture and can be wrong about a person.</p>"
    )
    return f"""<footer>
{skipped if result.failed else ""}
<p>Score: similarity of picture and description, -1 to 1; it orders the hits. The bars are the probability that each
asked term holds, from the picture alone. None of this identifies a person: check every hit by eye.</p>
{sensitive if any(term.sensitive for term in result.terms) else ""}
</footer>"""
