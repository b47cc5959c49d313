"""Which values a filter picks, against sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.gallery.store.memory import FEW_VALUES, LOOKUP, is_one_of

LOW = st.sampled_from([0, 1, 2, LOOKUP - 2, LOOKUP - 1])
HIGH = st.sampled_from([-(1 << 47), -2, -1, 0, 1, 2, (1 << 47) - 1])
HASHES = st.one_of(st.builds(lambda high, low: high * LOOKUP + low, HIGH, LOW), st.integers(-(2**63), 2**63 - 1))


@pytest.mark.parametrize("negated", [False, True])
@settings(max_examples=200, deadline=None)
@given(wanted=st.lists(HASHES, min_size=1, max_size=3 * FEW_VALUES), others=st.lists(HASHES, max_size=20))
def test_a_value_is_picked_if_it_is_one_of_those_wanted(negated: bool, wanted: list[int], others: list[int]) -> None:
    part = np.array([*others, *wanted], np.int64)
    assert is_one_of(wanted, negated)(part).tolist() == [
        (value in set(wanted)) is not negated for value in part.tolist()
    ]


def test_as_many_values_as_have_a_place_of_their_own() -> None:
    values = np.arange(LOOKUP) * (LOOKUP + 1)  # each has another place
    picked = is_one_of(values[::2].tolist(), negated=False)(values)
    assert picked.tolist() == [True, False] * (LOOKUP // 2)
