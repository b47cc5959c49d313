"""Cost and accuracy of the resize of crops, against the mean over pixel areas and linear interpolation.

    python -m benchmarks.speed.resize_rule

Boxes of people in drawn 1080p frames are resized to the input of the edge bundle. `off` is the absolute difference, in
levels of 255, from the mean over pixel areas in float64. `too_fine` is the share of waves too fine for the target that
survives as aliasing (root mean square; 1 is all of it). It is measured on impulses, not on photographs.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.measurement import in_turn, ratio, seconds, summary, write_result
from sal_cli.bench.drawn import draw_crops
from sal_runtime.arrays import UInt8Array
from sal_runtime.images.pixels import resize_image
from sal_runtime.images.spec import ImageSpec

SPEC = ImageSpec(128, 64)
CROPS = 512
ROUNDS = 15
SCALES = (1.25, 1.64, 2.1, 3.0, 3.7)

Resize = Callable[[UInt8Array, ImageSpec], UInt8Array]


def main() -> None:
    """Measure and write the result."""
    crops = [crop.pixels() for crop in draw_crops(CROPS)]
    larger = [crop for crop in crops if crop.shape[0] > SPEC.height and crop.shape[1] > SPEC.width]
    rules: dict[str, Resize] = {"sal": resize_image, "area": _by(cv2.INTER_AREA), "linear": _by(cv2.INTER_LINEAR)}
    times = in_turn({name: _timed(rule, larger) for name, rule in rules.items()}, ROUNDS)
    exact = [_exact(crop) for crop in larger]
    off = {
        name: np.stack([np.abs(rule(crop, SPEC) - mean) for crop, mean in zip(larger, exact, strict=True)])
        for name, rule in rules.items()
    }
    write_result(
        "resize_rule",
        {
            "crops": len(larger),
            "mean_height_width": np.mean([crop.shape[:2] for crop in larger], axis=0).tolist(),
            "microseconds": {name: summary([1e6 * value for value in values]) for name, values in times.items()},
            "time_to_area": {name: ratio(values, times["area"]) for name, values in times.items()},
            "off": {name: {"mean": float(levels.mean()), "max": float(levels.max())} for name, levels in off.items()},
            "too_fine": {
                f"{scale}x": {name: _too_fine(rule, scale) for name, rule in rules.items()} for scale in SCALES
            },
        },
    )


def _by(kernel: int) -> Resize:
    return lambda image, spec: np.asarray(cv2.resize(image, (spec.width, spec.height), interpolation=kernel), np.uint8)


def _timed(rule: Resize, crops: list[UInt8Array]) -> Callable[[], float]:
    """A function that measures the seconds for one crop."""
    return lambda: seconds(lambda: [rule(crop, SPEC) for crop in crops]) / len(crops)


def _exact(image: UInt8Array) -> NDArray[np.float64]:
    rows, columns = (_shares(*sizes) for sizes in zip(image.shape[:2], (SPEC.height, SPEC.width), strict=True))
    means: NDArray[np.float64] = np.einsum("ih,hwc,jw->ijc", rows, image.astype(np.float64), columns, optimize=True)
    return means


def _shares(length: int, target: int) -> NDArray[np.float64]:
    """Weight of each pixel in each of `target` equal stretches; rows add up to 1, `[target, length]`."""
    edges = np.arange(target + 1) * length / target
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: NDArray[np.float64] = np.maximum(overlap, 0) * target / length
    return shares


def _too_fine(rule: Resize, scale: float) -> float:
    """Root mean square of what remains of waves above the highest frequency that the target can show."""
    length = round(scale * SPEC.width)
    impulses = np.eye(length, dtype=np.uint8)[:, None, :, None] * np.full(3, 255, np.uint8)
    responses = np.stack([rule(impulse, ImageSpec(1, SPEC.width))[0, :, 0] / 255 for impulse in impulses], axis=1)
    waves = np.exp(2j * np.pi * np.linspace(0.5 / scale, 0.5, 60)[1:] * np.arange(length)[:, None])
    return float(np.sqrt(np.mean(np.abs(responses @ waves) ** 2)))


if __name__ == "__main__":
    main()
