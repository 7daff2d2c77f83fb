"""Which samples of a posterior are kept, against a plain full sort in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.class2d_coarse import significant_weight


def kept_by_sorting(weights: np.ndarray, fraction: float) -> int:
    """How many of the largest weights are needed to leave out at most ``1 - fraction`` of the sum."""
    ordered = np.sort(weights.astype(np.float64))
    return len(weights) - int((np.cumsum(ordered) <= (1.0 - fraction) * ordered.sum()).sum())


@given(
    st.integers(1, 3000),
    st.floats(0.01, 40.0),
    st.sampled_from([0.9, 0.99, 0.999]),
    st.integers(0, 2**31 - 1),
)
def test_the_kept_samples_are_those_of_a_full_sort(count: int, spread_nats: float, fraction: float, seed: int) -> None:
    drawn = np.random.default_rng(seed).exponential(spread_nats, count)
    weights = np.exp(drawn.min() - drawn).astype(np.float32)
    least = significant_weight(torch.from_numpy(weights), fraction)
    kept = int((torch.from_numpy(weights) >= least).sum())
    # sums in another order may differ in the last place: a weight right at the boundary may fall either way
    assert abs(kept - kept_by_sorting(weights, fraction)) <= 1
    assert weights[weights < float(least)].sum(dtype=np.float64) <= (1.0 - fraction) * 1.0001 * weights.sum(
        dtype=np.float64
    )


@pytest.mark.parametrize("shape", [(1,), (4, 5), (2, 3, 4)])
def test_equal_weights_and_a_single_one(shape: tuple[int, ...]) -> None:
    assert float(significant_weight(torch.full(shape, 0.25), 0.999)) == 0.25
    alone = torch.zeros(shape)
    alone.view(-1)[0] = 1.0
    assert float(significant_weight(alone, 0.999)) == 1.0
