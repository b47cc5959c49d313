"""The command `python -m docs.build`; the package describes it."""

from __future__ import annotations

import argparse
import sys

from benchmarks.speed.measurement import RESULTS
from docs.build.pages import REPOSITORY, page_names, render
from docs.build.plots import IMAGES, PLOTS, draw, stamp
from docs.build.reference import reference_pages


def main() -> int:
    """Render or check everything; 1 if a check found a difference."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.build", description="Render the documents and draw the plots."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if anything differs")
    check = parser.parse_args().check
    differing = []
    for name, text in {**{name: render(name) for name in page_names()}, **reference_pages()}.items():
        path = REPOSITORY / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            differing.append(name)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name, (panels_of, draw_panel) in PLOTS.items():
        path, panels = IMAGES / f"{name}.svg", panels_of(RESULTS)
        if not panels and not path.is_file():  # nothing of it is measured yet
            continue
        if not path.is_file() or stamp(panels) not in path.read_text(encoding="utf-8"):
            differing.append(f"docs/images/{name}.svg")
        if not check:
            path.write_bytes(draw(panels, draw_panel))
    for name in differing:
        print(f"{name} {'is not what its sources give' if check else 'rewritten'}", file=sys.stderr)
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
