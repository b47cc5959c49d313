"""Augmentation of whole batches on the device: flip, padded crop, brightness, erasing; it never changes the hue."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sal_train.config import DataConfig
from sal_train.images.device_copies import to_device


def augment(images: Tensor, flipped: Tensor, config: DataConfig, generator: torch.Generator) -> Tensor:
    """Augment a batch of images.

    Args:
        images: uint8 RGB [B, H, W, 3], on any device; not changed in place.
        flipped: images to mirror, bool [B], on the CPU.
        config: probabilities and ranges.
        generator: on the CPU; gives all random numbers, so that they are the same on every device.

    Returns:
        float32 [B, H, W, 3] in 0..255.
    """
    batch, device = len(images), images.device
    images = torch.where(to_device(flipped, device).view(-1, 1, 1, 1), images.flip(2), images)
    if config.pad:
        images = _random_crop(images, config.pad, generator)
    out = images.float()
    if config.brightness:
        gain = 1.0 + config.brightness * (2.0 * torch.rand(batch, generator=generator) - 1.0)
        out = (out * to_device(gain, device).view(-1, 1, 1, 1)).clamp(0.0, 255.0)
    return erase(out, config, generator)


def erase(images: Tensor, config: DataConfig, generator: torch.Generator) -> Tensor:
    """Fill a random rectangle of some images, or of the feature maps of images, with the mean of the image.

    Args:
        images: float [B, H, W, channels], on any device; not changed in place.
        config: probability and size.
        generator: on the CPU; draws nothing if the probability is 0.
    """
    if not config.erase:
        return images
    batch, height, width, _ = images.shape
    box = _boxes(batch, height, width, config.erase_area, generator, images.device)
    erased = to_device(torch.rand(batch, generator=generator) < config.erase, images.device).view(-1, 1, 1, 1)
    return torch.where(box & erased, images.mean(dim=(1, 2), keepdim=True), images)


def _random_crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Shift every image by up to `pad` pixels each way, with black outside; a gather, so it runs on the device."""
    batch, height, width, _ = images.shape
    padded = functional.pad(images, (0, 0, pad, pad, pad, pad))  # [B, H + 2p, W + 2p, 3]
    shift = torch.randint(2 * pad + 1, (2, batch, 1), generator=generator)
    rows = to_device(shift[0] + torch.arange(height), images.device)  # [B, H]
    columns = to_device(shift[1] + torch.arange(width), images.device)  # [B, W]
    index = torch.arange(batch, device=images.device)
    return padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]


def _boxes(
    batch: int, height: int, width: int, largest: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Random rectangles of 2 % to `largest` of the image, aspect 1:2 to 2:1, as masks bool [B, H, W, 1] on `device`."""
    draws = torch.rand(4, batch, generator=generator)
    area = (0.02 + (largest - 0.02) * draws[0]) * height * width
    aspect = 2.0 ** (2.0 * draws[1] - 1.0)
    box_height = (area * aspect).sqrt().clamp(max=height)
    box_width = (area / aspect).sqrt().clamp(max=width)
    top = draws[2] * (height - box_height)
    left = draws[3] * (width - box_width)
    edges = to_device(torch.stack([top, top + box_height, left, left + box_width]), device).view(4, -1, 1, 1)
    rows = torch.arange(height, device=device).view(1, -1, 1)
    columns = torch.arange(width, device=device).view(1, 1, -1)
    inside = (rows >= edges[0]) & (rows < edges[1]) & (columns >= edges[2]) & (columns < edges[3])
    return inside.unsqueeze(-1)
