"""Diagnostics on features whose quality is known: copies of real ones, and features that miss them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from benchmarks.training.symbiosis_diagnostics import (
    SAMPLES,
    FeaturePair,
    centroids,
    diversity,
    fresh_classifier,
    neighbours,
)

CATEGORIES, IMAGES, WIDTH = 12, 40, 6


def pair(offset: float, spread: float) -> FeaturePair:
    """Synthetic features around the centres of their categories, `offset` away, with `spread` times the deviation."""
    generator = torch.Generator().manual_seed(2)
    centres = 3.0 * torch.randn(CATEGORIES, WIDTH, generator=generator)
    categories = torch.arange(CATEGORIES).repeat_interleave(IMAGES)
    real = centres[categories] + torch.randn(len(categories), WIDTH, generator=generator)
    noise = torch.randn(CATEGORIES, SAMPLES, WIDTH, generator=generator)
    return FeaturePair(real, categories, centres[:, None] + offset + spread * noise)


def test_a_fresh_classifier_is_at_chance_on_the_true_distribution_only() -> None:
    assert fresh_classifier(pair(0.0, 1.0)) == pytest.approx(0.5, abs=0.08)
    assert fresh_classifier(pair(8.0, 1.0)) > 0.9


def test_diversity_is_the_share_of_the_real_variance() -> None:
    assert diversity(pair(0.0, 1.0)) == pytest.approx(1.0, abs=0.15)
    assert diversity(pair(0.0, 0.5)) == pytest.approx(0.25, abs=0.05)


def test_neighbours_are_far_from_features_that_miss() -> None:
    near, far = neighbours(pair(0.0, 1.0)), neighbours(pair(20.0, 1.0))
    assert near["synthetic_to_real"] == pytest.approx(near["real_to_real"], rel=0.3)
    assert far["synthetic_to_real"] > 5 * far["real_to_real"]


def test_centroids_are_found_by_what_points_at_them() -> None:
    good = pair(0.0, 0.1)
    unit = FeaturePair(normalize(good.real), good.categories, normalize(good.synthetic, dim=2))
    own = torch.stack([unit.real[unit.categories == number].mean(0) for number in range(CATEGORIES)])
    found = centroids(unit, normalize(own.roll(1, dims=0)))
    assert found["synthetic"]["own_is_nearest"] == 1.0
    assert found["query"]["own_is_nearest"] == 0.0
    assert found["synthetic"]["cosine_to_own"] > 0.9 > found["query"]["cosine_to_own"]
