"""An answer to a search that was never made, for tests of what is shown of it."""

from __future__ import annotations

from pathlib import Path

from sal_runtime.gallery.comparing import UpdateReport
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.matching.result import AskedTerm, Hit, SearchResult
from tests.runtime.gallery_images import write_image

COLOURS = ((250, 10, 10), (10, 250, 10), (10, 10, 250))


def made_up_result(folder: Path, num_terms: int = 2) -> SearchResult:
    """Hits red, green and blue, and a fourth whose image is gone and whose name is an attack."""
    names = ["cam1/red.png", "cam1/green.png", "blue.png", "<script>alert(1)</script>/a&b.png"]
    for name, colour in zip(names, COLOURS, strict=False):
        write_image(folder / name, colour, size=(128, 48))
    terms = [
        AskedTerm("male", "male", True),
        AskedTerm("upper-colour=red|upper-colour=blue", "upper-colour red or blue", False),
        *(AskedTerm(f"thing-{number}", f"thing {number}", False) for number in range(20)),
    ][:num_terms]
    hits = tuple(
        Hit(
            rank=number + 1,
            item=GalleryItem(name),
            path=folder / name,
            score=0.9 - 0.1 * number,
            likelihood=0.75 if number < 3 else None,
            evidence={term.text: 0.25 * number for term in terms},
        )
        for number, name in enumerate(names)
    )
    return SearchResult(
        query="male,<b>upper</b>=red|blue",
        terms=tuple(terms),
        hits=hits,
        num_items=12_345,
        gallery="crops.sal",
        bundle_name="tiny",
        bundle_fingerprint="0123456789abcdef",
        encoding=UpdateReport(
            added=7, changed=0, removed=0, unchanged=12_338, failed=(("bad & broken.jpg", "the file is <empty>"),)
        ),
    )
