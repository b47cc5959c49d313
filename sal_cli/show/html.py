"""The answer to a search as one self-contained HTML file: pictures inside, no script, no network."""

from __future__ import annotations

import base64
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from sal_cli.show.terminal import SENSITIVE_MARK
from sal_cli.show.thumbnails import encode_image, load_thumbnail
from sal_runtime.gallery.moments import moment_text
from sal_runtime.matching.result import AskedTerm, Hit, SearchResult

PICTURE = (256, 128)
"""Height and width of the box a picture is fitted into, pixels."""
SMALL_PICTURE = (96, 48)
MOST_OTHERS = 24
"""Other images of a track that are shown; the rest are counted."""

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
.terms small { color: var(--faint); }
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
a { color: inherit; }
.others { display: flex; flex-wrap: wrap; gap: 4px; padding-top: 4px; }
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
@media print { :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --faint: #444; --line: #bbb;
    --bar: #2f6fb2; --track: #e7eaee; --mark: #a15c00; --box: #eee; }
  body { padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { grid-template-columns: 1fr 1fr; } a { text-decoration: none; } }
"""


def render_html(result: SearchResult, folder: Path) -> str:
    """A page with a card per hit: picture, likelihood, score and the evidence for each asked term.

    Args:
        result: the answer.
        folder: where the page will be; links to images below it are relative to it.
    """
    cards = "\n".join(_card(hit, result.terms, folder) for hit in result.hits)
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
    terms = "".join(f"<li>{_marked(term)}{_recognised(term)}</li>" for term in result.terms)
    found = f"The best {len(result.hits):,} {'tracks ' if result.grouped else ''}of {result.num_items:,} images"
    only = escape("".join(f" · only {condition}" for condition in result.conditions))
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in result.notes)
    moment = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"""<header>
<h1>{escape(result.query)}</h1>
<ul class="terms" aria-label="The query as understood">{terms}</ul>
<p class="facts">{found} in {escape(result.gallery)}{only} ·
encoders: {escape(result.bundle_name)} ({result.bundle_fingerprint[:12]}) · {moment}</p>
{notes}</header>"""


def _card(hit: Hit, terms: tuple[AskedTerm, ...], folder: Path) -> str:
    likelihood = "" if hit.likelihood is None else f"<dt>likelihood of match</dt><dd>{hit.likelihood:.0%}</dd>"
    picture = _picture(hit, PICTURE)
    link = _link(hit.path, folder) if picture else None
    name = f'<a href="{escape(link)}">{escape(hit.uri)}</a>' if link else escape(hit.uri)
    evidence = "".join(_evidence(term, hit.evidence[term.text]) for term in terms)
    return f"""<article>
<div class="picture">{picture or "image gone"}</div>
<div class="text">
<div class="rank">{hit.rank}</div>
<p class="uri">{name}</p>{_seen(hit)}
<dl>{likelihood}<dt>score</dt><dd>{hit.score:.3f}</dd></dl>
<ul class="evidence">{evidence}</ul>{_others(hit, folder)}
</div>
</article>"""


def _seen(hit: Hit) -> str:
    """Camera, track, time and metadata of the image, as far as they are known."""
    item = hit.item
    known = [] if item.camera is None else [f"camera {item.camera}"]
    known += [] if item.track is None else [f"track {item.track}"]
    if item.captured_at is not None:
        known.append(moment_text(item.captured_at))
    known += [f"{key} {value}" for key, value in item.metadata.items()]
    return f'\n<p class="uri">{escape(" · ".join(known))}</p>' if known else ""


def _picture(hit: Hit, box: tuple[int, int]) -> str:
    """The image, to fit into a box; empty if it is gone."""
    thumbnail = load_thumbnail(hit.path, *box)
    if thumbnail is None:
        return ""
    height, width = thumbnail.shape[:2]
    data = base64.b64encode(encode_image(thumbnail, ".jpg")).decode()
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="hit {hit.rank}">'


def _link(path: Path, folder: Path) -> str:
    """The address of an image: relative to the page if it is below the folder of the page, else the whole path."""
    path, folder = path.absolute(), folder.absolute()
    # "./" because a colon in the first name would make it the name of a protocol
    return f"./{quote(path.relative_to(folder).as_posix())}" if path.is_relative_to(folder) else path.as_uri()


def _others(hit: Hit, folder: Path) -> str:
    """The other images of the track, small; opened by a click."""
    if not hit.others:
        return ""
    pictures = ""
    for other in hit.others[:MOST_OTHERS]:
        link, picture = escape(_link(other.path, folder)), _picture(other, SMALL_PICTURE)
        pictures += f'<a href="{link}" title="{escape(other.uri)}">{picture}</a>' if picture else ""
    hidden = len(hit.others) - MOST_OTHERS
    more = f"<p>and {hidden:,} that are not shown</p>" if hidden > 0 else ""
    return f'<details><summary>+{len(hit.others):,} more</summary><div class="others">{pictures}</div>{more}</details>'


def _evidence(term: AskedTerm, probability: float) -> str:
    return (
        f"<li><span>{_marked(term)}</span><b>{probability:.0%}</b>"
        f'<div class="track"><i style="width: {100 * probability:.1f}%"></i></div></li>'
    )


def _marked(term: AskedTerm) -> str:
    mark = f' <span class="sensitive" title="sensitive attribute">{SENSITIVE_MARK}</span>' if term.sensitive else ""
    return escape(term.understood) + mark


def _recognised(term: AskedTerm) -> str:
    """How well the words of a term are recognised, by the card of the bundle."""
    rates = [
        f"{share:.0%}" if name.replace("=", " ") == term.understood else f"{name} {share:.0%}"
        for name, share in term.recognised.items()
    ]
    return f" <small>recognised {escape(', '.join(rates))}</small>" if rates else ""


def _footer(result: SearchResult) -> str:
    failed = "".join(f"<li>{escape(path)}: {escape(reason)}</li>" for path, reason in result.failed)
    skipped = f"<details open><summary>{len(result.failed)} skipped</summary><ul>{failed}</ul></details>"
    sensitive = (
        f'<p><span class="sensitive">{SENSITIVE_MARK}</span> asks for a sensitive attribute. Use it only where you '
        "may; it is an impression from a picture and can be wrong about a person.</p>"
    )
    return f"""<footer>
{skipped if result.failed else ""}
<p>Likelihood of match: how likely the whole description fits; it orders the hits. The bars: how likely each
asked term holds. Score: similarity of picture and description, -1 to 1. Recognised: in this
share of the test images that show it. None of this identifies a person: check every hit by eye.</p>
{f"<p>{escape(result.bundle_name)}: {escape(result.licence)}</p>" if result.licence else ""}
{sensitive if any(term.sensitive for term in result.terms) else ""}
</footer>"""
