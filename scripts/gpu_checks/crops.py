"""People drawn with numpy alone, because a rented GPU machine may lack OpenCV."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sal_runtime.images.spec import ImageSpec

NOISE = 6.0
"""Standard deviation of the noise of every pixel, in levels of 255."""


def plain_crops(spec: ImageSpec, count: int) -> NDArray[np.uint8]:
    """People as patches of colour, uint8 RGB [count, H, W, 3]; the same at every call."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 1, spec.height, endpoint=False)[:, None]
    columns = np.abs(np.linspace(-1, 1, spec.width))[None, :]
    crops = np.empty((count, spec.height, spec.width, 3), np.uint8)
    for crop in crops:
        ground, wall, skin, upper, lower = rng.uniform(20, 235, (5, 3))
        head, waist, feet = rng.uniform((0.14, 0.45, 0.9), (0.2, 0.58, 0.98))
        build = rng.uniform(0.35, 0.6)
        image = np.where((rows > rng.uniform(0.5, 0.8))[:, :, None], ground, wall) * np.ones((1, spec.width, 1))
        image[(rows < head) & (rows > 0.03) & (columns < 0.25)] = skin
        image[(rows >= head) & (rows < waist) & (columns < build)] = upper
        image[(rows >= waist) & (rows < feet) & (columns < 0.8 * build)] = lower
        crop[:] = np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255)
    return crops
