"""The attribute head on unit vectors."""

from __future__ import annotations

import torch

from sal_export.heads import unit_head
from tests.export.lively_networks import lively


def test_the_head_is_exact_for_unit_heads_and_measured_otherwise() -> None:
    embeddings = torch.randn(200, 128, generator=torch.Generator().manual_seed(0))
    exact = unit_head(lively("sal"), embeddings)
    assert exact.error["max_probability_difference"] < 1e-5
    approximate = unit_head(lively("paper"), torch.tanh(embeddings))
    assert 0.0 < approximate.error["mean_probability_difference"] < 0.05
    assert approximate.error["same_decision"] > 0.9
