"""What the generator of a trained run makes, beside real features.

    python -m benchmarks.training.symbiosis_diagnostics --runs runs/peta-full-seed1 runs/peta-full-seed2 \
        --data DATA --out benchmarks/results/training/symbiosis_peta.json

The runs are of one data set, have a G_V, and held categories out. All numbers are of those categories; the mean over
the runs is kept. Features are f_v, embeddings are unit vectors.

fresh_classifier  accuracy of a new network that tells real from synthetic, on images it has not seen; 0.5 is chance
neighbours        distance of a synthetic feature to the nearest real one, and of a real one to its nearest, medians
diversity         variance over z within a category, as a share of the variance over its real images
centroids         how near to the centroid of a category's images are the mean synthetic embedding and E_A's query:
                  mean cosine, and share of categories whose own centroid is the nearest
queries           metrics of a search by E_A's query, by the mean synthetic embedding, and by the sum of the two
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from benchmarks.training.error_budget import mean_of
from benchmarks.training.ranked_run import RankedRun, measure_runs, rank_run
from sal_train.checkpoint import load_run
from sal_train.datasets import SearchDataset
from sal_train.evaluation.metrics import rank_queries, summarise
from sal_train.networks import Networks

SAMPLES = 16
"""Synthetic features of each category."""
CLASSIFIER_STEPS = 300


@dataclass(frozen=True)
class FeaturePair:
    """Real and synthetic features of the same categories, in the space of f_v or in that of embeddings.

    Attributes:
        real: float32 `[N, d]`.
        categories: of the real ones, int64 `[N]`, 0..Q-1.
        synthetic: `SAMPLES` of each category, float32 `[Q, SAMPLES, d]`.
    """

    real: Tensor
    categories: Tensor
    synthetic: Tensor


@torch.no_grad()
def features_and_embeddings(networks: Networks, ranked: RankedRun) -> tuple[FeaturePair, FeaturePair]:
    """f_v and embeddings of the images of a protocol, and of as many synthetic features for every query."""
    networks.eval()
    device = next(networks.parameters()).device
    f_v = networks.image_backbone(torch.as_tensor(ranked.pooled[ranked.rows]).to(device))
    f_a = networks.attribute_backbone(torch.as_tensor(ranked.vectors).float().to(device))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(SAMPLES, len(f_a), networks.config.noise_dim, generator=generator).to(device)
    # G_V uses the statistics of its batch: one batch of all categories for each z
    synthetic = torch.stack([networks.G_V(torch.cat([f_a, z], dim=1)) for z in noise], dim=1)  # [Q, SAMPLES, 512]
    categories = torch.as_tensor(ranked.categories)
    embedded = normalize(networks.E_V(synthetic.flatten(0, 1))).view(*synthetic.shape[:2], -1)
    return (
        FeaturePair(f_v.cpu(), categories, synthetic.cpu()),
        FeaturePair(normalize(networks.E_V(f_v)).cpu(), categories, embedded.cpu()),
    )


def fresh_classifier(pair: FeaturePair) -> float:
    """Accuracy of a new classifier on the second half of the categories, after training on the first."""
    torch.manual_seed(0)
    half = len(pair.synthetic) // 2
    choose = torch.randint(SAMPLES, (len(pair.real),))
    fake = pair.synthetic[pair.categories, choose]  # one for every image, so both are of the same categories
    inputs = torch.cat([pair.real, fake])
    inputs = (inputs - inputs.mean(0)) / inputs.std(0).clamp_min(1e-6)
    target = torch.cat([torch.ones(len(fake)), torch.zeros(len(fake))])
    to_train = (pair.categories < half).repeat(2)
    network = nn.Sequential(nn.Linear(inputs.shape[1], 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1)
    rows = to_train.nonzero()[:, 0]
    for _ in range(CLASSIFIER_STEPS):
        batch = rows[torch.randint(len(rows), (256,))]
        optimiser.zero_grad()
        binary_cross_entropy_with_logits(network(inputs[batch])[:, 0], target[batch]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    network.eval()
    with torch.no_grad():
        says_real = network(inputs[~to_train])[:, 0] > 0
    return float((says_real == (target[~to_train] > 0.5)).float().mean())


def neighbours(pair: FeaturePair) -> dict[str, float]:
    """Median distances to the nearest real feature, from a synthetic one and from another real one."""
    between = torch.cdist(pair.real, pair.real)
    between.fill_diagonal_(torch.inf)
    synthetic = torch.cdist(pair.synthetic[:, 0], pair.real).min(dim=1).values.median()
    real = between.min(dim=1).values.median()
    return {"synthetic_to_real": float(synthetic), "real_to_real": float(real)}


def diversity(pair: FeaturePair) -> float:
    """Variance over z within a category as a share of that over its images; the mean over categories of 4 and more."""
    shares = []
    for number, synthetic in enumerate(pair.synthetic):
        real = pair.real[pair.categories == number]
        if len(real) >= 4:
            shares.append(float(synthetic.var(dim=0).sum() / real.var(dim=0).sum()))
    return float(np.mean(shares))


def centroids(embedded: FeaturePair, queries: Tensor) -> dict[str, dict[str, float]]:
    """Nearness of the mean synthetic embedding, and of E_A's query, to the centroids of the images."""
    own = torch.stack([embedded.real[embedded.categories == number].mean(0) for number in range(len(queries))])
    found = {}
    for name, direction in (("synthetic", embedded.synthetic.mean(1)), ("query", queries)):
        cosine = normalize(direction) @ normalize(own).T
        found[name] = {
            "cosine_to_own": float(cosine.diagonal().mean()),
            "own_is_nearest": float((cosine.argmax(dim=1) == torch.arange(len(own))).float().mean()),
        }
    return found


def queries_by_synthesis(embedded: FeaturePair, queries: Tensor, ranked: RankedRun) -> dict[str, dict[str, float]]:
    """Metrics of three kinds of query over the same images."""
    synthetic = normalize(embedded.synthetic.mean(1))
    found = {}
    for name, direction in (("query", queries), ("synthetic", synthetic), ("sum", queries + synthetic)):
        precision, first = rank_queries((direction @ embedded.real.T).numpy(), ranked.relevance)
        result = summarise(precision, first, len(embedded.real))
        found[name] = {"mAP": result.mAP, "rank1": result.rank1}
    return found


def diagnose(folder: Path, dataset: SearchDataset, cache: Path) -> dict[str, Any]:
    """All diagnostics of one run."""
    run = load_run(folder)
    ranked = rank_run(run, dataset, cache, torch.device("cpu"), held_out=True)
    assert isinstance(run.networks, Networks), "only SAL has generators"
    features, embedded = features_and_embeddings(run.networks, ranked)
    queries = torch.as_tensor(ranked.queries)
    spaces = {"features": features, "embeddings": embedded}
    return {
        "fresh_classifier": {name: fresh_classifier(pair) for name, pair in spaces.items()},
        "neighbours": {name: neighbours(pair) for name, pair in spaces.items()},
        "diversity": {name: diversity(pair) for name, pair in spaces.items()},
        "centroids": centroids(embedded, queries),
        "queries": queries_by_synthesis(embedded, queries, ranked),
    }


def diagnose_runs(folders: Sequence[Path], dataset: SearchDataset, cache: Path) -> dict[str, Any]:
    """The mean diagnostics of some runs of a data set."""
    mean: dict[str, Any] = mean_of([diagnose(folder, dataset, cache) for folder in folders])
    return mean


if __name__ == "__main__":
    sys.exit(measure_runs("benchmarks.training.symbiosis_diagnostics", __doc__, diagnose_runs))
