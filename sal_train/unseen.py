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
        seen: attribute vectors of the training categories, uint8 [K, A].

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
    ) -> None:
        self.config = config
        self.prior = prior.float()
        self.seen = seen.float()
        paper = config.sampler == "bernoulli"
        self.draws = self._paper_draws(schema, one_draw_groups) if paper else self._draws(schema)
        drawn = {bit for draw in self.draws for bit in draw.bits}
        self.independent = torch.tensor([bit for bit in range(schema.num_bits) if bit not in drawn], dtype=torch.long)
        self.group_bits = torch.zeros(
            len(schema.groups) + 1, schema.num_bits, dtype=torch.bool
        )  # the last row: no group
        for number, group in enumerate(schema.groups):
            self.group_bits[number, list(group.bits)] = True

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

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Attribute vectors float32 [count, A] of 0 and 1, on the CPU.

        With `reject_seen`, vectors equal to a training category are redrawn, at most `MAX_REDRAWS` times.
        """
        vectors = self._sample_once(count, generator)
        if self.config.reject_seen:
            drawn = torch.arange(count)
            for _ in range(MAX_REDRAWS):
                last = vectors[drawn]
                # number of differing attributes; the matrix product is many times faster than cdist
                differing = last.sum(1, keepdim=True) + self.seen.sum(1) - 2.0 * last @ self.seen.T
                drawn = drawn[(differing < 0.5).any(dim=1)]
                if not len(drawn):
                    break
                vectors[drawn] = self._sample_once(len(drawn), generator)
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
        """Training vectors with one or two groups copied from other training vectors: plausible neighbours."""
        rows = torch.randint(len(self.seen), (count,), generator=generator)
        vectors = self.seen[rows]
        for flip in range(2):
            donors = self.seen[torch.randint(len(self.seen), (count,), generator=generator)]
            chosen = torch.randint(len(self.group_bits) - 1, (count,), generator=generator)
            if flip == 1:
                chosen[torch.rand(count, generator=generator) < 0.5] = -1  # half of them change one group only
            vectors = torch.where(self.group_bits[chosen], donors, vectors)
        return vectors
