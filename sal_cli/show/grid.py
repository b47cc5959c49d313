"""The hits of a search as one picture: rank and likelihood under each image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sal_cli.show.thumbnails import encode_image, load_thumbnail
from sal_runtime.images.pixels import import_opencv
from sal_runtime.matching.result import Hit, SearchResult

COLUMNS = 10
PICTURE = (224, 112)
"""Height and width of the box a picture is fitted into, pixels."""
CAPTION = 24
MARGIN = 8
HEADER = 40
TITLE_SIZE = 0.55

BACKGROUND = (250, 250, 250)
BOX = (225, 227, 230)
INK = (30, 34, 40)
FAINT = (110, 116, 124)


def draw_grid(result: SearchResult, suffix: str) -> bytes:
    """A contact sheet as a file, in the format of a suffix: `.jpg` or `.png`.

    A grey box replaces a picture that is gone.
    Under each picture are its rank, its likelihood of match, and the number of other images of its track.
    """
    columns = min(COLUMNS, max(len(result.hits), 4))
    rows = max(1, -(-len(result.hits) // columns))
    cell_height, cell_width = PICTURE[0] + CAPTION + MARGIN, PICTURE[1] + MARGIN
    shape = (HEADER + rows * cell_height + MARGIN, columns * cell_width + MARGIN, 3)
    sheet = np.full(shape, BACKGROUND, dtype=np.uint8)
    query = result.query.encode("ascii", "replace").decode()  # the fonts of OpenCV have no other letters
    found = f"{len(result.hits)}{' tracks' if result.grouped else ''} of {result.num_items:,}"
    title = f"{found}: {query}"
    _write(sheet, _fitted(title, shape[1] - 2 * MARGIN), MARGIN, HEADER - 15, TITLE_SIZE, INK)
    for position, hit in enumerate(result.hits):
        row, column = divmod(position, columns)
        _draw_hit(sheet, hit, HEADER + row * cell_height, MARGIN + column * cell_width)
    return encode_image(sheet, suffix)


def _fitted(text: str, width: int) -> str:
    """As much of a title as fits into `width` pixels."""
    cv2 = import_opencv()

    def is_too_wide(shown: str) -> bool:
        return bool(cv2.getTextSize(shown, cv2.FONT_HERSHEY_SIMPLEX, TITLE_SIZE, 1)[0][0] > width)

    shown = text
    while shown and is_too_wide(shown):
        text = text[:-1]
        shown = f"{text}..."
    return shown


def _draw_hit(sheet: NDArray[np.uint8], hit: Hit, top: int, left: int) -> None:
    height, width = PICTURE
    sheet[top : top + height, left : left + width] = BOX
    thumbnail = load_thumbnail(hit.path, height, width)
    if thumbnail is None:
        _write(sheet, "image gone", left + 10, top + height // 2, 0.42, FAINT)
    else:
        y = top + (height - thumbnail.shape[0]) // 2
        x = left + (width - thumbnail.shape[1]) // 2
        sheet[y : y + thumbnail.shape[0], x : x + thumbnail.shape[1]] = thumbnail
    baseline = top + height + 16
    _write(sheet, f"{hit.rank}", left, baseline, 0.45, INK)
    facts = f"score {hit.score:.2f}" if hit.likelihood is None else f"{hit.likelihood:.0%}"
    more = f"  +{len(hit.others)}" if hit.others else ""
    _write(sheet, facts + more, left + 26, baseline, 0.4, FAINT)


def _write(
    sheet: NDArray[np.uint8], text: str, left: int, baseline: int, size: float, colour: tuple[int, int, int]
) -> None:
    cv2 = import_opencv()

    cv2.putText(sheet, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
