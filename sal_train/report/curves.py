"""Line charts as inline SVG, in the colours of the page around them; they can be read without its style, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 30


def line_chart(title: str, unit: str, epochs: Sequence[int], values: Sequence[float], mark: int | None = None) -> str:
    """A curve over epochs, with its least and greatest value on the axis.

    Args:
        title: above the curve.
        unit: of the values, behind the numbers of the axis.
        epochs: of the points, ascending.
        values: of the points; those that are not finite are left out.
        mark: an epoch to mark, such as that of the model that was saved.

    Returns:
        An SVG element.
    """
    points = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
    if not points:
        return ""
    low, high = min(value for _, value in points), max(value for _, value in points)
    span, last = (high - low) or 1.0, max(epoch for epoch, _ in points)

    def x(epoch: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (epoch - 1) / max(1, last - 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / span)

    path = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
    dots = "".join(f'<circle cx="{x(epoch):.1f}" cy="{y(value):.1f}" r="2.2" fill="#47b"/>' for epoch, value in points)
    marked = (
        ""
        if mark is None
        else f'<line class="mark" stroke="#a15c00" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP}" y2="{y(low)}"/>'
    )
    return f"""<figure><figcaption>{escape(title)}</figcaption>
<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" fill="#777" role="img"
aria-label="{escape(title)}: from {low:.3g} to {high:.3g}{escape(unit)}">
<line class="axis" stroke="#bbb" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(low):.1f}" y2="{y(low):.1f}"/>
{marked}<polyline points="{path}" fill="none" stroke="#47b" stroke-width="2"/>{dots}
<text x="{LEFT - 6}" y="{y(high) + 4:.1f}" text-anchor="end">{high:.3g}{escape(unit)}</text>
<text x="{LEFT - 6}" y="{y(low):.1f}" text-anchor="end">{low:.3g}{escape(unit)}</text>
<text x="{LEFT}" y="{HEIGHT - 8}">epoch 1</text>
<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{last}</text>
</svg></figure>"""
