"""Networks that were not trained but are alive, and their exports, made once for all tests; nobody may change them."""

from __future__ import annotations

import functools

import numpy as np
import torch

from sal_export.encoders import DeployedImageEncoder
from sal_export.onnx_export import export_onnx
from sal_train.backbones.pretrained import load_pretrained
from sal_train.config import ModelConfig
from sal_train.networks import Networks

CONFIGS = {
    "paper": ModelConfig(backbone="resnet50", weights="none", height=48, width=32),
    "sal": ModelConfig(
        backbone="efficientnet_lite0",
        weights="imagenet",
        height=48,
        width=32,
        feature_norm="batch",
        embedding_output="batchnorm",
        unit_heads=True,
    ),
    "osnet": ModelConfig(
        backbone="osnet_0288",
        weights="none",
        height=48,
        width=32,
        stripes=3,
        feature_norm="batch",
        embedding_output="batchnorm",
        unit_heads=True,
    ),
}


@functools.cache
def lively(name: str) -> Networks:
    """Networks of 6 attributes and 4 categories, in evaluation mode, with statistics from a few batches of noise."""
    config = CONFIGS[name]
    torch.manual_seed(5)
    networks = Networks(config, num_bits=6, num_categories=4)
    load_pretrained(networks.image_backbone.trunk, config.backbone, config.weights)
    networks.train()
    with torch.no_grad():
        for _ in range(30):
            networks.embed_images(torch.randint(0, 256, (16, config.height, config.width, 3), dtype=torch.uint8))
            networks.embed_attributes(torch.randint(0, 2, (32, 6)).float())
    return networks.eval()


@functools.cache
def exported_image_encoder(name: str) -> bytes:
    """The .onnx file of `lively(name)` in fp32."""
    networks = lively(name)
    size = (2, networks.config.height, networks.config.width, 3)
    return export_onnx(DeployedImageEncoder(networks), torch.zeros(size, dtype=torch.uint8), "images")


def smooth_crops(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures: noise would saturate every activation alike."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 6, 4, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)
