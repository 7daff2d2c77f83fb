"""When a refinement looks finer and when it ends; how halves are drawn and joined; the prior from their FSC."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.fourier import grid_shells
from cryorepro.em.half_sets import (
    half_map_fsc,
    join_low_resolution,
    prior_from_fsc,
    random_halves,
    unregularised,
)
from cryorepro.em.reconstruction import hermitian
from cryorepro.em.refine_schedule import Accuracy, Changes, Schedule, coarse_shell

START = Schedule(2, 1, 5.0, 2.0, radius=10, finest_order=4)
FINE, ROUGH = Accuracy(1.0, 0.2), Accuracy(6.0, 0.6)


def _stalled(schedule: Schedule) -> Schedule:
    changes = Changes(10.0, 0.3)
    return schedule.seen(12, changes).seen(12, changes)


def test_the_grid_is_refined_only_when_nothing_moves_any_more() -> None:
    first = START.seen(12, Changes(40.0, 1.0))
    assert not first.stalled and first.advanced(FINE, Changes(40.0, 1.0)) == first
    better = first.seen(14, Changes(40.0, 1.0))
    assert not better.stalled, "the resolution improved"
    calmer = first.seen(12, Changes(20.0, 1.0))
    assert not calmer.stalled, "the assignments settle"
    assert _stalled(START).stalled
    for step in range(1, 4):
        first = first.seen(12, Changes(20.0 / step, 1.0 / step))
        assert not first.stalled, "they still settle, and by more than a fraction of a step"
    assert first.seen(12, Changes(2.9, 0.3)).stalled, "changes below 0.4 of a step count as none"
    assert not first.seen(12, Changes(3.1, 0.3)).stalled


def test_what_counts_as_no_change_is_a_part_of_the_first_grids_step() -> None:
    """On finer grids assignments may go on moving less and less, by about a step: the resolution decides."""
    schedule = _stalled(START).advanced(FINE, Changes(10.0, 0.3))
    assert (schedule.first_step_deg, schedule.first_step_px) == pytest.approx((7.5, 1.0))
    still, moving = Changes(2.9, 0.3), Changes(3.1, 0.3)
    assert 0.4 * schedule.fine_step_deg < still.rotation_deg < 0.4 * schedule.first_step_deg < moving.rotation_deg
    begun = schedule.seen(12, Changes(10.0, 1.0))
    assert begun.seen(12, still).stalled and not begun.seen(12, moving).stalled
    assert not begun.seen(12, Changes(2.9, 0.5)).stalled, "shifts still settle"
    for order, factor in ((4, 0.5), (5, 0.25)):
        schedule = _stalled(replace(schedule, finest_order=7)).advanced(FINE, Changes(10.0 * factor, 0.3))
        assert schedule.healpix_order == order
        assert (schedule.first_step_deg, schedule.first_step_px) == pytest.approx((7.5, 1.0))


def test_every_grid_is_used_at_least_twice() -> None:
    """Nothing can be said of changes in the first iteration on a grid, however small they are."""
    schedule, used = replace(START, finest_order=6), []
    while not schedule.converged:
        used.append(schedule.healpix_order)
        still = Changes(1e-3, 1e-3)
        schedule = schedule.seen(12, still).advanced(Accuracy(0.01, 0.01), still)
    # a gain of resolution comes first; on the last grid one iteration more confirms it
    assert used == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]


def test_a_stalled_refinement_halves_its_step_until_that_is_below_the_accuracy() -> None:
    finer = _stalled(START).advanced(FINE, Changes(10.0, 0.3))
    assert finer.healpix_order == 3 and finer.fine_step_deg == pytest.approx(3.75)
    assert finer.offset_step_px == pytest.approx(2 * 0.75 * 0.2)
    assert finer.offset_range_px == pytest.approx(0.75), "five times the change, halved where that is over four steps"
    assert (finer.without_gain, finer.without_change) == (0, 0)
    enough = _stalled(replace(START, healpix_order=3)).advanced(ROUGH, Changes(10.0, 0.3))
    assert enough.healpix_order == 3 and enough.fine_enough and not enough.converged
    assert enough.advanced(ROUGH, Changes(10.0, 0.3)).converged


def test_shifts_are_searched_as_far_as_they_moved() -> None:
    still = _stalled(START).advanced(FINE, Changes(10.0, 0.01))
    assert still.offset_range_px == pytest.approx(1.5 * still.offset_step_px), "never less than three by three"
    lively = _stalled(START).advanced(Accuracy(1.0, 0.1), Changes(10.0, 2.0))
    assert lively.offset_range_px == pytest.approx(1.3 * 5.0 / 2.0), "at most 1.3 times as far, then halved"
    assert lively.offset_step_px == pytest.approx(lively.offset_range_px / 4.0)
    rough = _stalled(START).advanced(Accuracy(1.0, 50.0), Changes(10.0, 2.0))
    assert (rough.offset_step_px, rough.offset_range_px) == (2.0, 5.0), "never a coarser step"


def test_searches_are_local_from_the_order_asked_for() -> None:
    assert not START.is_local
    assert replace(START, healpix_order=4).is_local
    assert replace(START, local_order=2).is_local


def test_no_grid_finer_than_allowed() -> None:
    last = replace(_stalled(START), healpix_order=4)
    assert last.advanced(FINE, Changes(10.0, 0.3)).fine_enough


def test_the_image_size_grows_with_the_resolution_and_never_past_nyquist() -> None:
    assert START.resized(64, 12, 0.05, 0.9).radius == 22
    assert START.resized(64, 12, 0.5, 0.9).radius == 20
    assert START.resized(128, 12, 0.5, 0.9).radius == 28
    assert START.resized(64, 30, 0.5, 0.9).radius == 32


@given(st.integers(0, 6), st.floats(50, 500), st.integers(5, 200))
def test_the_coarse_pass_stays_within_the_size_in_use(order: int, diameter: float, radius: int) -> None:
    shell = coarse_shell(400, 1.5, 60.0 / 2**order, diameter, radius)
    assert 1 <= shell <= radius
    if shell < radius:
        arc = math.pi * diameter * (60.0 / 2**order) / 360.0
        assert 600.0 / shell <= arc / 1.2 * 1.0001


def test_halves_are_equal_seeded_and_shuffled() -> None:
    halves = random_halves(1001, 7)
    assert np.bincount(halves).tolist() == [0, 501, 500]
    np.testing.assert_array_equal(halves, random_halves(1001, 7))
    assert (halves != random_halves(1001, 8)).mean() > 0.4
    assert abs(np.corrcoef(halves[:-1], halves[1:])[0, 1]) < 0.15


def _grids(radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    side = 2 * (2 * radius + 1) + 1
    shape = (3, side, side, side // 2 + 1)
    first, second = (hermitian(torch.randn(shape, generator=generator, dtype=torch.float64)) for _ in range(2))
    for grid in (first, second):
        grid[2] = 10.0
    return first, second


def test_joined_halves_agree_inside_and_stay_apart_outside() -> None:
    first, second = _grids(8)
    joined = join_low_resolution(first, second, 3)
    squared, _ = grid_shells(first.shape[-1] - 1)
    inside = squared <= (2 * 3) ** 2
    torch.testing.assert_close(joined[0][:, inside], 0.5 * (first + second)[:, inside])
    torch.testing.assert_close(joined[0][:, inside], joined[1][:, inside])
    torch.testing.assert_close(joined[0][:, ~inside], first[:, ~inside])
    torch.testing.assert_close(joined[1][:, ~inside], second[:, ~inside])


def test_the_half_map_curve_ends_where_the_data_end() -> None:
    first, second = _grids(8)
    maps = unregularised([first, second], 24, 8)
    curve = half_map_fsc(maps[0], maps[1], 8)
    assert curve[9:].abs().max() == 0.0 and curve[0] == 1.0
    assert curve[1:9].abs().max() < 0.9
    same = half_map_fsc(maps[0], maps[0], 8)
    torch.testing.assert_close(same[:9], torch.ones(9, dtype=torch.float64))


def test_the_prior_is_the_signal_to_noise_ratio_of_the_fsc_times_the_noise() -> None:
    first, _ = _grids(8)
    fsc = torch.linspace(0.95, 0.05, 13, dtype=torch.float64)
    half = prior_from_fsc(fsc, first, 24, 8, whole=False)
    noise = 1.0 / (2**3 * 10.0)  # one over the mean weight, padding cubed
    np.testing.assert_allclose(half[1:9], fsc[1:9] / (1 - fsc[1:9]) * noise, rtol=1e-6)
    assert half[9:].abs().max() == 0.0
    whole = prior_from_fsc(fsc, first, 24, 8, whole=True)
    better = torch.sqrt(2 * fsc / (1 + fsc))
    np.testing.assert_allclose(whole[1:9], (better / (1 - better))[1:9] * noise, rtol=1e-6)
