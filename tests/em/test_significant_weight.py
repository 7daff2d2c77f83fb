"""Which samples of posteriors are kept, against a plain full sort in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.coarse_samples import keep_fraction, keep_fraction_of_each, keep_fraction_of_rows


def kept_by_sorting(weights: np.ndarray, fraction: float) -> int:
    """How many of the largest weights are needed to leave out at most ``1 - fraction`` of the sum."""
    ordered = np.sort(weights.astype(np.float64))
    return len(weights) - int((np.cumsum(ordered) <= (1.0 - fraction) * ordered.sum()).sum())


@given(
    st.integers(1, 1000),
    st.floats(0.01, 40.0),
    st.sampled_from([0.9, 0.99, 0.999]),
    st.integers(0, 2**31 - 1),
)
def test_the_kept_samples_are_those_of_a_full_sort(count: int, spread_nats: float, fraction: float, seed: int) -> None:
    drawn = np.random.default_rng(seed).exponential(spread_nats, (3, count))
    weights = np.exp(drawn.min(axis=1, keepdims=True) - drawn).astype(np.float32)
    lines, owner = torch.from_numpy(weights), torch.arange(3)
    ways = (
        torch.stack([keep_fraction(line, fraction) for line in lines]),
        keep_fraction_of_rows(lines, fraction),
        keep_fraction_of_each(lines, owner, 3, fraction),
    )
    for kept in ways:
        for line, own in zip(weights, kept.numpy(), strict=True):
            # sums in another order may differ in the last place: a weight right at the boundary may fall either way
            assert abs(int(own.sum()) - kept_by_sorting(line, fraction)) <= 1
            assert line[~own].sum(dtype=np.float64) <= (1.0 - fraction) * 1.0001 * line.sum(dtype=np.float64)


@pytest.mark.parametrize("count", [1, 20])
def test_equal_weights_and_a_single_one(count: int) -> None:
    alone = torch.zeros(1, count)
    alone[0, 0] = 1.0
    owner = torch.zeros(1, dtype=torch.int64)
    for line, kept in ((torch.full((1, count), 0.25), count), (alone, 1)):
        assert int(keep_fraction_of_rows(line, 0.999).sum()) == kept
        assert int(keep_fraction_of_each(line, owner, 1, 0.999).sum()) == kept
