"""Augmentation of batches: each kind does what it says, and nothing else changes."""

from __future__ import annotations

import torch

from sal_train.config import DataConfig
from sal_train.images.augment import augment, erase

IMAGES = torch.randint(0, 256, (64, 20, 10, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def run(config: DataConfig, seed: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(IMAGES, torch.rand(len(IMAGES), generator=generator) < config.flip, config, generator)


def test_flip_mirrors_about_half_of_the_images() -> None:
    out = run(DataConfig(flip=0.5))
    same = (out == IMAGES.float()).flatten(1).all(dim=1)
    mirrored = (out == IMAGES.flip(2).float()).flatten(1).all(dim=1)
    assert (same | mirrored).all()
    assert 16 < int(mirrored.sum()) < 48


def test_padded_crop_shifts_the_image() -> None:
    out = run(DataConfig(flip=0.0, pad=2))
    for image, shifted in zip(IMAGES[:8].float(), out[:8], strict=True):
        padded = torch.nn.functional.pad(image, (0, 0, 2, 2, 2, 2))
        windows = [padded[y : y + 20, x : x + 10] for y in range(5) for x in range(5)]
        assert any(torch.equal(window, shifted) for window in windows)


def test_erasing_covers_a_rectangle_of_bounded_area_with_the_mean() -> None:
    out = run(DataConfig(flip=0.0, erase=1.0, erase_area=0.2))
    areas = []
    for image, erased in zip(IMAGES.float(), out, strict=True):
        changed = (erased != image).any(dim=2)
        rows, columns = changed.any(dim=1), changed.any(dim=0)
        assert torch.equal(changed, rows[:, None] & columns[None, :])
        for line in (rows, columns):  # without gaps
            places = line.nonzero().flatten()
            assert len(places) == places[-1] - places[0] + 1
        torch.testing.assert_close(erased[changed], image.mean(dim=(0, 1)).expand(int(changed.sum()), 3))
        areas.append(float(changed.float().mean()))
    assert max(areas) <= 0.2 + 0.1  # a rectangle is rounded to whole pixels
    assert max(areas) > 2 * min(areas)


def test_brightness_is_one_gain_for_all_channels() -> None:
    out = run(DataConfig(flip=0.0, brightness=0.2))
    gains = []
    for image, brightened in zip(IMAGES.float(), out, strict=True):
        bright = (image > 100) & (image < 200)  # never clipped by a gain below 1.2
        gain = (brightened[bright] / image[bright]).median()
        torch.testing.assert_close(brightened, (gain * image).clamp(0.0, 255.0), rtol=1e-5, atol=1e-3)
        gains.append(float(gain))
    assert min(gains) < 0.9
    assert max(gains) > 1.1
    assert all(0.8 <= gain <= 1.2 for gain in gains)


def test_augmentation_repeats_for_a_seed() -> None:
    config = DataConfig(pad=3, erase=0.5, brightness=0.1)
    assert torch.equal(run(config), run(config))
    assert not torch.equal(run(config), run(config, seed=5))


def test_feature_maps_are_erased_to_their_own_mean() -> None:
    maps = torch.randn(6, 8, 4, 5, generator=torch.Generator().manual_seed(3)).half()
    out = erase(maps, DataConfig(erase=1.0, erase_area=0.3), torch.Generator().manual_seed(4))
    assert out.dtype == torch.float16
    changed = (out != maps).any(dim=3)
    assert changed.any(dim=(1, 2)).all()
    assert changed.float().mean() < 0.5
    for one, erased, where in zip(maps, out, changed, strict=True):
        torch.testing.assert_close(erased[where], one.mean(dim=(0, 1)).expand(int(where.sum()), 5))
