"""The tiny bundle with a calibration, so that its hits have likelihoods."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sal_runtime.bundle.calibration import Calibration
from tests.runtime.bundle.test_bundle import rewrite_manifest
from tests.runtime.tiny_bundle import SCHEMA, make_tiny_bundle

CALIBRATION = Calibration(
    np.linspace(0.5, 1.5, SCHEMA.num_bits).astype(np.float32),
    np.linspace(-0.5, 0.5, SCHEMA.num_bits).astype(np.float32),
    0.4,
    0.8,
    0.05,
    -0.1,
    -0.05,
    0.2,
)


def make_calibrated_bundle(directory: Path, name: str = "tiny", seed: int = 0) -> Path:
    """As `make_tiny_bundle`, with a calibration."""
    bundle = make_tiny_bundle(directory, name, seed)
    rewrite_manifest(bundle, {"calibration": CALIBRATION.to_json()})
    return bundle
