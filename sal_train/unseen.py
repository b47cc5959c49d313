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
    """One multinomial draw: the bits it may set, and the probability of each, then of none of them."""

    bits: tuple[int, ...]
    probabilities: Tensor  # [len(bits) + 1]


class UnseenSampler:
    """Draws attribute vectors from the training statistics.

    Args:
        config: which sampler.
        schema: the groups.
        prior: probability of each attribute in training, [A].
        one_draw_groups: groups of one draw in the paper's sampler; the other bits are independent Bernoulli there.
        seen: the training categories' vectors uint8, [K, A].

    Raises:
        ConfigError: a group of `one_draw_groups` is not in the schema.
    """

    def __init__(
        self,
        config: UnseenConfig,
        schema: AttributeSchema,
        prior: Tensor,
        one_draw_groups: Sequence[str],
        seen: Tensor,
    ) -> None:
        self.config = config
        self.prior = prior.float()
        self.seen = seen.float()
        paper = config.sampler == "bernoulli"
        self.draws = self._paper_draws(schema, one_draw_groups) if paper else self._draws(schema)
        drawn = {bit for draw in self.draws for bit in draw.bits}
        self.independent = torch.tensor([bit for bit in range(schema.num_bits) if bit not in drawn], dtype=torch.long)
        self.groups = [torch.tensor(group.bits, dtype=torch.long) for group in schema.groups]

    def _paper_draws(self, schema: AttributeSchema, one_draw_groups: Sequence[str]) -> list[Draw]:
        """Exactly one value of each multi-valued attribute, as the paper's 1-trial multinomial gives."""
        draws = []
        for name in one_draw_groups:
            if name not in schema.group_index:
                raise ConfigError(f"group {name!r} is not in schema {schema.name!r}; one_draw_groups must name groups")
            bits = schema.groups[schema.group_index[name]].bits
            weights = self.prior[list(bits)]
            draws.append(Draw(bits, torch.cat([weights / weights.sum(), torch.zeros(1)])))
        return draws

    def _draws(self, schema: AttributeSchema) -> list[Draw]:
        """One draw for every exclusive group of the schema, with the outcome "none" where it has one."""
        draws = []
        for group in schema.groups:
            if group.kind == "exclusive":
                weights = self.prior[list(group.bits)]
                has_none = any(state.name == NONE_STATE for state in group.states)
                none = (1.0 - weights.sum()).clamp(min=0.0) if has_none else torch.tensor(0.0)
                outcome = torch.cat([weights, none.view(1)])
                draws.append(Draw(group.bits, outcome / outcome.sum()))
        return draws

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` attribute vectors, float [count, A] of 0 and 1, on the CPU.

        With `reject_seen`, a vector equal to a training category is drawn again, up to 8 times.
        """
        vectors = self._sample_once(count, generator)
        if self.config.reject_seen:
            for _ in range(MAX_REDRAWS):
                # differing attributes of 0 and 1 as a product, which is many times faster than cdist
                differing = vectors.sum(1, keepdim=True) + self.seen.sum(1) - 2.0 * vectors @ self.seen.T
                known = (differing < 0.5).any(dim=1)
                if not known.any():
                    break
                vectors[known] = self._sample_once(int(known.sum()), generator)
        return vectors

    def _sample_once(self, count: int, generator: torch.Generator) -> Tensor:
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
        return vectors

    def _flip(self, count: int, generator: torch.Generator) -> Tensor:
        """Training vectors with one or two groups taken from other training vectors: near, plausible neighbours."""
        rows = torch.randint(len(self.seen), (count,), generator=generator)
        vectors = self.seen[rows].clone()
        for flip in range(2):
            donors = self.seen[torch.randint(len(self.seen), (count,), generator=generator)]
            chosen = torch.randint(len(self.groups), (count,), generator=generator)
            if flip == 1:
                chosen[torch.rand(count, generator=generator) < 0.5] = -1  # half of them change one group only
            for number, bits in enumerate(self.groups):
                rows_of_group = (chosen == number).nonzero()[:, 0]
                vectors[rows_of_group[:, None], bits] = donors[rows_of_group[:, None], bits]
        return vectors
