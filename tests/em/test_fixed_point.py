"""Sums in quanta and words: any order, the same bits, and the right value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.fixed_point import FixedAccumulator, from_words, quantum_of, to_words
from cryorepro.em.fourier import half_plane
from cryorepro.em.reconstruction import SliceAccumulator
from cryorepro.em.rotations import random_rotations

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda x: x == 0.0 or abs(x) > 1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_words_add_in_any_order_to_the_same_bits_and_the_exact_sum(values: list[float], shuffled: object) -> None:
    forward = sum((to_words(torch.tensor(v, dtype=torch.float64)) for v in values), start=torch.zeros(4).long())
    other = list(values)
    getattr(shuffled, "shuffle")(other)  # noqa: B009 - hypothesis gives random.Random
    backward = sum((to_words(torch.tensor(v, dtype=torch.float64)) for v in other), start=torch.zeros(4).long())
    assert torch.equal(forward, backward)
    assert float(from_words(forward)) == pytest.approx(math.fsum(values), rel=1e-15, abs=1e-29)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-30, 1e30))
def test_a_sum_at_its_bound_fits_and_half_the_bits_are_below_it(bound: float) -> None:
    quantum = quantum_of(bound)
    assert math.frexp(quantum)[0] == 0.5
    assert 2**61 <= bound / quantum <= 2**62


def _slices(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    plane = half_plane(24, 9)
    values = torch.complex(*(torch.randn(count, len(plane), generator=generator) for _ in range(2)))
    return values, torch.rand(count, len(plane), generator=generator), random_rotations(count, generator)


def test_slices_in_any_order_give_the_same_bits_and_what_floating_point_gives() -> None:
    plane, (values, weights, matrices) = half_plane(24, 9), _slices(60)
    plain = SliceAccumulator(9)
    cells = plain.data.shape[1]
    quanta = (quantum_of(60 * 8.0 * 5.0), quantum_of(60 * 8.0))
    orders = (torch.arange(60), torch.randperm(60, generator=torch.Generator().manual_seed(1)))
    sums = []
    for order, blocks in zip(orders, (60, 7), strict=True):
        exact = FixedAccumulator(9, quanta, torch.empty(3, cells, dtype=torch.int64))
        for part in torch.split(order, blocks):
            exact.insert(values[part], weights[part], matrices[part], plane)
        sums.append(exact.data)
    assert torch.equal(sums[0], sums[1])
    plain.insert(values, weights, matrices, plane)
    scaled = sums[0].double() * torch.tensor([quanta[0], quanta[0], quanta[1]])[:, None]
    np.testing.assert_allclose(scaled.numpy(), plain.data.numpy(), atol=2e-5)
