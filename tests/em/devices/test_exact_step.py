"""Exact sums of an expectation step: the same bits however the work is cut, near the default's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cryorepro.em.devices.plan import Plan
from cryorepro.em.devices.ranks import Ranks
from cryorepro.em.expectation import Expectation, expectation, make_team
from cryorepro.em.imageset import ImageSource, Indices, Poses
from tests.em.test_expectation import _bits, _case

EXACT = Plan(block_particles=8, exact=True)


def _step(plan: Plan, chunk_size: int | None = None, workers: int = 1) -> Expectation:
    case = _case(count=45, fraction=0.999, snr=0.1)
    model = replace(case.model, plan=plan)
    return expectation(case.images, case.poses, model, workers, chunk_size=chunk_size)


@pytest.fixture(scope="module")
def whole() -> Expectation:
    return _step(EXACT)


@pytest.mark.parametrize(
    ("plan", "how"),
    [
        (EXACT, {"chunk_size": 8}),
        (EXACT, {"chunk_size": 20, "workers": 2}),
        (EXACT, {"chunk_size": 1, "workers": 3}),
        (replace(EXACT, table_bytes=1), {"chunk_size": 8}),
        (replace(EXACT, sample_bytes=1, table_bytes=1), {"chunk_size": 16, "workers": 2}),
    ],
    ids=["chunks", "workers", "one block a chunk", "rounds", "waves"],
)
def test_the_same_bits_however_the_work_is_cut(plan: Plan, how: dict[str, int], whole: Expectation) -> None:
    assert _bits(_step(plan, **how)) == _bits(whole)


def test_it_is_the_default_but_for_rounding(whole: Expectation) -> None:
    plain = _step(Plan(block_particles=8))
    assert torch.equal(plain.poses.euler_deg, whole.poses.euler_deg)
    torch.testing.assert_close(plain.noise, whole.noise, rtol=1e-12, atol=1e-15)
    for ours, theirs in zip(plain.grids, whole.grids, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=3e-6 * float(theirs.abs().max()))


def test_processes_take_whole_blocks_and_all_particles_once() -> None:
    from cryorepro.em.expectation import _share

    case = _case(count=45)
    for plan in (EXACT, Plan()):
        parts = [_share(torch.arange(45), replace(case.model, plan=plan), Ranks(rank, 4)).tolist() for rank in range(4)]
        assert sum(parts, []) == list(range(45))
        if plan.exact:
            assert all(part[0] % 8 == 0 for part in parts if part)


def test_a_coefficient_that_no_noise_explains_is_refused_in_exact_mode_alone() -> None:
    case = _case(count=10, snr=0.3)
    loud = replace(case.images, source=_Loud(case.images.source))
    poses = Poses.start(10)
    expectation(loud, poses, case.model)
    with make_team(loud, 1) as team, pytest.raises(ValueError, match="exceeds its noise"):
        expectation(loud, poses, replace(case.model, plan=EXACT), team=team)


class _Loud:
    def __init__(self, source: ImageSource) -> None:
        self._source = source

    def read(self, indices: Indices) -> NDArray[np.float32]:
        return np.float32(1e6) * self._source.read(indices)
