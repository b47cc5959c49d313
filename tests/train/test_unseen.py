"""Frequencies of the samplers against the priors, and the rules of exclusive groups."""

from __future__ import annotations

import pytest
import torch

from sal_runtime.errors import ConfigError
from sal_runtime.query.schema import AttributeSchema, binary
from sal_train.config import UnseenConfig
from sal_train.unseen import UnseenSampler
from tests.train.tiny_training import SCHEMA

PRIOR = torch.tensor([0.2, 0.6, 0.3, 0.1, 0.4])  # the colours sum to 0.8: one person in five has none
SEEN = torch.tensor([[0, 0, 1, 0, 0], [1, 1, 0, 0, 1], [0, 1, 0, 1, 0]], dtype=torch.uint8)
COUNT = 20_000


def draw(config: UnseenConfig, count: int = COUNT) -> torch.Tensor:
    sampler = UnseenSampler(config, SCHEMA, PRIOR, ("upper-colour",), SEEN, torch.ones_like(SEEN))
    return sampler.sample(count, torch.Generator().manual_seed(1))[0]


def test_bernoulli_sampler_follows_the_prior_and_always_draws_one_colour() -> None:
    vectors = draw(UnseenConfig(sampler="bernoulli"))
    assert vectors[:, :2].mean(dim=0).tolist() == pytest.approx([0.2, 0.6], abs=0.02)
    assert (vectors[:, 2:].sum(dim=1) == 1).all()
    assert vectors[:, 2:].mean(dim=0).tolist() == pytest.approx([0.375, 0.125, 0.5], abs=0.02)
    together = (vectors[:, 0] * vectors[:, 1]).mean().item()
    assert together == pytest.approx(0.12, abs=0.02)  # independent


def test_schema_sampler_also_draws_no_colour() -> None:
    vectors = draw(UnseenConfig(sampler="schema"))
    assert (vectors[:, 2:].sum(dim=1) <= 1).all()
    assert vectors.mean(dim=0).tolist() == pytest.approx(PRIOR.tolist(), abs=0.02)


def test_flip_sampler_changes_at_most_two_groups_of_a_training_vector() -> None:
    """Training knows nobody with any of seven things, and somebody with all: 3 and 4 of them are too far from both."""
    schema = AttributeSchema("things", tuple(binary(f"thing-{bit}", bit) for bit in range(7)))
    seen = torch.stack([torch.zeros(7), torch.ones(7)]).to(torch.uint8)
    sampler = UnseenSampler(UnseenConfig(sampler="flip"), schema, torch.full((7,), 0.5), (), seen, seen | 1)
    vectors, _ = sampler.sample(2000, torch.Generator().manual_seed(1))
    counts = vectors.sum(dim=1).long().bincount(minlength=8)
    assert (counts > 0).tolist() == [True, True, True, False, False, True, True, True]
    changed = vectors[vectors.sum(dim=1) == 1].sum(dim=0)  # each group is taken about as often
    assert changed.min() > 0.5 * changed.mean()


def test_flip_sampler_copies_a_group_as_a_whole() -> None:
    vectors = draw(UnseenConfig(sampler="flip"), 500)
    assert (vectors[:, 2:].sum(dim=1) == 1).all()  # every vector of SEEN has one colour


def test_rejecting_seen_vectors_leaves_none_of_them() -> None:
    vectors = draw(UnseenConfig(sampler="schema", reject_seen=True), 2000)
    assert (torch.cdist(vectors, SEEN.float(), p=1).min(dim=1).values > 0).all()
    plain = draw(UnseenConfig(sampler="schema"), 2000)
    assert (torch.cdist(plain, SEEN.float(), p=1).min(dim=1).values == 0).any()


def test_same_generator_same_vectors() -> None:
    assert torch.equal(draw(UnseenConfig(), 50), draw(UnseenConfig(), 50))


def test_unknown_group_is_named() -> None:
    with pytest.raises(ConfigError, match="shoes"):
        UnseenSampler(UnseenConfig(), SCHEMA, PRIOR, ("shoes",), SEEN, torch.ones_like(SEEN))


def test_flip_sampler_takes_over_what_is_unknown_with_its_probability() -> None:
    """Two people; of the first the colour is unknown, of the second the hat."""
    seen = torch.tensor([[1.0, 0.0, 0.3, 0.2, 0.4], [0.7, 1.0, 0.0, 1.0, 0.0]])
    known = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 1, 1, 1]])
    config = UnseenConfig(sampler="flip", reject_seen=True)
    sampler = UnseenSampler(config, SCHEMA, PRIOR, ("upper-colour",), seen, known)
    vectors, vectors_known = sampler.sample(300, torch.Generator().manual_seed(1))
    for vector, of_vector in zip(vectors, vectors_known, strict=True):
        for group in SCHEMA.groups:
            bits = list(group.bits)
            donors = [torch.equal(vector[bits], seen[row, bits]) for row in range(2)]
            assert any(donors[row] and torch.equal(of_vector[bits], known[row, bits].float()) for row in range(2))
        assert not any(torch.equal(vector, row) for row in seen)
