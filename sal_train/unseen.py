"""Dynamic sampling of attribute combinations that training has not seen (paper, sec. 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sal_runtime.errors import ConfigError
from sal_runtime.query.schema import NONE_STATE, AttributeSchema
from sal_train.config import UnseenConfig

MAX_REDRAWS = 8


@dataclass(frozen=True)
class Draw:
    """One multinomial draw.

    Attributes:
        bits: numbers of the bits of which the draw sets one, or none.
        probabilities: of each bit, then of none, float32 [len(bits) + 1].
    """

    bits: tuple[int, ...]
    probabilities: Tensor


class UnseenSampler:
    """Draws attribute vectors from the training statistics.

    Args:
        config: names the sampler.
        schema: defines the groups.
        prior: probability of each attribute in training, float [A].
        one_draw_groups: groups that the paper's sampler draws at once; it draws all other bits independently.
        seen: attribute vectors of the training categories, [K, A]; for an unknown attribute its probability.
        seen_known: which of these attributes are known, bool [K, A].

    Raises:
        ConfigError: the schema lacks a group of `one_draw_groups`.
    """

    def __init__(
        self,
        config: UnseenConfig,
        schema: AttributeSchema,
        prior: Tensor,
        one_draw_groups: Sequence[str],
        seen: Tensor,
        seen_known: Tensor,
    ) -> None:
        self.config = config
        self.prior = prior.float()
        self.seen = seen.float()
        self.seen_known = seen_known.float()
        self.seen_labels = _labels(self.seen, self.seen_known)
        paper = config.sampler == "bernoulli"
        self.draws = self._paper_draws(schema, one_draw_groups) if paper else self._draws(schema)
        drawn = {bit for draw in self.draws for bit in draw.bits}
        self.independent = torch.tensor([bit for bit in range(schema.num_bits) if bit not in drawn], dtype=torch.long)
        self.groups = [torch.tensor(group.bits, dtype=torch.long) for group in schema.groups]

    def _paper_draws(self, schema: AttributeSchema, one_draw_groups: Sequence[str]) -> list[Draw]:
        """Draws that set exactly one value of each multi-valued attribute, like the paper's 1-trial multinomial."""
        draws = []
        for name in one_draw_groups:
            if name not in schema.group_index:
                raise ConfigError(f"one_draw_groups: schema {schema.name!r} has no group {name!r}; name groups of it")
            bits = schema.groups[schema.group_index[name]].bits
            weights = self.prior[list(bits)]
            draws.append(Draw(bits, torch.cat([weights / weights.sum(), torch.zeros(1)])))
        return draws

    def _draws(self, schema: AttributeSchema) -> list[Draw]:
        """One draw for every exclusive group of the schema, with the outcome "none" if the group has that state."""
        draws = []
        for group in schema.groups:
            if group.kind == "exclusive":
                weights = self.prior[list(group.bits)]
                has_none = any(state.name == NONE_STATE for state in group.states)
                none = (1.0 - weights.sum()).clamp(min=0.0) if has_none else torch.tensor(0.0)
                outcome = torch.cat([weights, none.view(1)])
                draws.append(Draw(group.bits, outcome / outcome.sum()))
        return draws

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Attribute vectors float32 [count, A] and which of their attributes are known, 0 or 1 [count, A], on the CPU.

        Known attributes are 0 or 1. The sampler `flip` takes over what is unknown, with its probability; the others
        know everything. With `reject_seen`, vectors equal to a training category are redrawn, at most `MAX_REDRAWS`
        times.
        """
        vectors, known = self._sample_once(count, generator)
        if self.config.reject_seen:
            for _ in range(MAX_REDRAWS):
                # number of differing labels; the matrix product is many times faster than cdist
                labels = _labels(vectors, known)
                differing = labels.sum(1, keepdim=True) + self.seen_labels.sum(1) - 2.0 * labels @ self.seen_labels.T
                is_seen = (differing < 0.5).any(dim=1)
                if not is_seen.any():
                    break
                vectors[is_seen], known[is_seen] = self._sample_once(int(is_seen.sum()), generator)
        return vectors, known

    def _sample_once(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.config.sampler == "flip":
            return self._flip(count, generator)
        vectors = torch.zeros(count, len(self.prior))
        for draw in self.draws:
            outcome = torch.multinomial(draw.probabilities, count, replacement=True, generator=generator)
            for position, bit in enumerate(draw.bits):
                vectors[:, bit] = (outcome == position).float()
        if len(self.independent):
            noise = torch.rand(count, len(self.independent), generator=generator)
            vectors[:, self.independent] = (noise < self.prior[self.independent]).float()
        return vectors, torch.ones_like(vectors)

    def _flip(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Training vectors with one or two groups copied from other training vectors: plausible neighbours."""
        rows = torch.randint(len(self.seen), (count,), generator=generator)
        vectors, known = self.seen[rows].clone(), self.seen_known[rows].clone()
        for flip in range(2):
            donors = torch.randint(len(self.seen), (count,), generator=generator)
            chosen = torch.randint(len(self.groups), (count,), generator=generator)
            if flip == 1:
                chosen[torch.rand(count, generator=generator) < 0.5] = -1  # half of them change one group only
            for number, bits in enumerate(self.groups):
                rows_of_group = (chosen == number).nonzero()[:, 0]
                source = donors[rows_of_group][:, None]
                vectors[rows_of_group[:, None], bits] = self.seen[source, bits]
                known[rows_of_group[:, None], bits] = self.seen_known[source, bits]
        return vectors, known


def _labels(vectors: Tensor, known: Tensor) -> Tensor:
    """Vectors of 0 and 1 that are equal where the same is known and the same is said, [N, 2 A]."""
    return torch.cat([vectors * known, known], dim=1)
