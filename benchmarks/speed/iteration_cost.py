"""Cost of the symbiotic method: an iteration with all phases against one of the embedding alone.

    python -m benchmarks.speed.iteration_cost [RECIPE] [KEY=VALUE ...]

Both use the same batch of random pixels and networks of the same size. RECIPE is one whose last stage is the full
method (default: sal). The paper reports 77 against 70 minutes; the limit here is a ratio of 1.35.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import torch

from benchmarks.speed.measurement import in_turn, ratio, seconds, summary, write_result
from sal_train import iteration
from sal_train.config import Config
from sal_train.datasets.peta_schema import SCHEMA
from sal_train.networks import Networks
from sal_train.phases import Batch
from sal_train.recipe import load_config

ROUNDS = 15
NUM_CATEGORIES = 1_890
EMBEDDING = ("embed_image", "embed_attribute", "embed_joint")


class Contender:
    """A training state that is timed one iteration at a time."""

    def __init__(self, config: Config, phases: tuple[str, ...], unseen: bool) -> None:
        stage = dataclasses.replace(config.stages[-1], phases=phases)
        self.config = config
        self.phases = iteration.stage_phases(stage)
        networks = Networks(config.model, SCHEMA.num_bits, NUM_CATEGORIES)
        optimisers = iteration.build_optimisers(networks, self.phases, stage, config.optimiser)
        average = iteration.new_average(networks) if config.optimiser.ema else None
        self.state = iteration.TrainState(networks, optimisers, average)
        self.images, self.batch = random_batch(config, unseen)

    def iterate(self) -> float:
        """Seconds of one iteration."""
        return seconds(lambda: iteration.run_iteration(self.state, self.phases, self.images, self.batch, self.config))


def random_batch(config: Config, unseen: bool) -> tuple[torch.Tensor, Batch]:
    """Random pixels and labels, and with `unseen` as many unseen vectors as the recipe samples."""
    generator = torch.Generator().manual_seed(0)
    size = config.data.batch_size
    extra = round(config.unseen.share * size) if unseen else 0
    vectors = torch.randint(0, 2, (NUM_CATEGORIES, SCHEMA.num_bits), generator=generator).float()
    categories = torch.randint(0, NUM_CATEGORIES, (size,), generator=generator)
    sampled = torch.randint(0, 2, (extra, SCHEMA.num_bits), generator=generator).float()
    pixels = 255 * torch.rand(size, config.model.height, config.model.width, 3, generator=generator)
    batch = Batch(
        attributes=torch.cat([vectors[categories], sampled]),
        categories=categories,
        noise=torch.randn(size + extra, config.model.noise_dim, generator=generator),
        category_vectors=vectors,
        prior=vectors.mean(dim=0),
    )
    return pixels, batch


def main() -> None:
    """Measure and write the result."""
    recipe, settings = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("sal", [])
    config = load_config(recipe, ["model.weights=none", *settings])
    phases = config.stages[-1].phases
    embedding = tuple(phase for phase in phases if phase in EMBEDDING)
    torch.manual_seed(0)
    full, embed = Contender(config, phases, unseen=True), Contender(config, embedding, unseen=False)
    cost = in_turn({"full": full.iterate, "embed": embed.iterate}, ROUNDS, warmup=2)
    write_result(
        "iteration_cost",
        {
            "recipe": recipe,
            "settings": settings,
            "phases": list(phases),
            "embedding_alone": list(embedding),
            "batch_size": config.data.batch_size,
            "input": [config.model.height, config.model.width],
            "backbone": config.model.backbone,
            "threads": torch.get_num_threads(),
            "rounds": ROUNDS,
            "seconds": {name: summary(values) for name, values in cost.items()},
            "full_to_embed": ratio(cost["full"], cost["embed"]),
            "least_to_least": min(cost["full"]) / min(cost["embed"]),
            "limit": 1.35,
            "parameters": int(np.sum([p.numel() for p in full.state.networks.parameters()])),
        },
    )


if __name__ == "__main__":
    main()
