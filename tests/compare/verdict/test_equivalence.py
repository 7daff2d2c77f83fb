"""The equivalence test against independent computations: scipy, non-central t, simulation, and its own axioms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from cryorepro.compare.equivalence import Band, Direction, against_figure, between, decide, least_spread
from cryorepro.compare.power import chances, group_chances, runs_to_decide

values = st.lists(st.floats(-100, 100).map(lambda x: round(x, 6)), min_size=2, max_size=10)


@settings(max_examples=200, deadline=None)
@given(values, st.floats(-50, 50), st.floats(0.1, 50))
def test_accepting_is_two_one_sided_t_tests_at_five_percent(
    sample: list[float], expected: float, margin: float
) -> None:
    assume(np.std(sample) > 1e-3)
    low = float(stats.ttest_1samp(sample, expected - margin, alternative="greater").pvalue)
    high = float(stats.ttest_1samp(sample, expected + margin, alternative="less").pvalue)
    assume(abs(max(low, high) - 0.05) > 1e-9)
    answer = decide(against_figure(sample, expected), Band(margin))
    assert (answer == "inside") == (max(low, high) < 0.05)


@settings(max_examples=200, deadline=None)
@given(values, values, st.floats(0.1, 100))
def test_two_groups_are_welch(first: list[float], second: list[float], margin: float) -> None:
    assume(np.std(first) > 1e-3 and np.std(second) > 1e-3)
    low = float(stats.ttest_ind(np.array(second) + margin, first, equal_var=False, alternative="greater").pvalue)
    high = float(stats.ttest_ind(np.array(second) - margin, first, equal_var=False, alternative="less").pvalue)
    assume(abs(max(low, high) - 0.05) > 1e-9)
    assert (decide(between(first, second), Band(margin)) == "inside") == (max(low, high) < 0.05)


@settings(max_examples=100, deadline=None)
@given(values, st.floats(-50, 50), st.floats(0, 50), st.sampled_from(["both", "at-least", "at-most"]))
def test_a_wider_margin_never_turns_inside_into_something_else(
    sample: list[float], expected: float, margin: float, direction: Direction
) -> None:
    estimate = against_figure(sample, expected)
    narrow, wide = (decide(estimate, Band(width, direction)) for width in (margin, 2 * margin + 1))
    order = ["outside", "open", "inside"]
    assert order.index(wide) >= order.index(narrow)
    mirrored = against_figure([-value for value in sample], -expected)
    other: dict[Direction, Direction] = {"both": "both", "at-least": "at-most", "at-most": "at-least"}
    assert decide(mirrored, Band(margin, other[direction])) == narrow


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 2.0, 8.0])
def test_one_sided_chances_are_the_non_central_t(n: int, shift: float) -> None:
    """Accepting 'at least -m' is t > t_crit with non-centrality (shift + m) sqrt(n) / sd: closed form in scipy."""
    margin, sd = 3.0, 1.0
    critical = stats.t.ppf(0.95, n - 1)
    centre = (shift + margin) * math.sqrt(n) / sd
    found = group_chances(shift, sd, n, Band(margin, "at-least"))
    assert found.inside == pytest.approx(stats.nct.sf(critical, n - 1, centre), abs=2e-6)
    lower = 0.0 if centre > 8 else stats.nct.cdf(-critical, n - 1, centre)  # scipy gives nan in the far tail
    assert found.outside == pytest.approx(lower, abs=2e-6)


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("shift", [0.0, 1.5, 3.0, 6.0])
def test_two_sided_chances_are_what_simulation_gives(n: int, shift: float) -> None:
    draws = np.random.default_rng(7).normal(shift, 1.0, (60_000, n))
    half = stats.t.ppf(0.95, n - 1) * draws.std(axis=1, ddof=1) / math.sqrt(n)
    middle = draws.mean(axis=1)
    inside = np.mean((middle - half >= -3) & (middle + half <= 3))
    outside = np.mean((middle - half > 3) | (middle + half < -3))
    found = group_chances(shift, 1.0, n, Band(3.0))
    assert found.inside == pytest.approx(inside, abs=0.01)
    assert found.outside == pytest.approx(outside, abs=0.01)


@pytest.mark.parametrize("n", range(2, 11))
def test_at_the_margin_at_most_five_percent_are_accepted(n: int) -> None:
    assert group_chances(3.0, 1.0, n, Band(3.0)).inside <= 0.05 + 1e-6


def test_how_many_more_runs_is_the_smallest_that_decides() -> None:
    band = Band(1.0)
    more = runs_to_decide(0.2, 0.8, 3, band)
    assert more is not None
    assert group_chances(0.2, 0.8, 3 + more, band).decided >= 0.8
    assert group_chances(0.2, 0.8, 2 + more, band).decided < 0.8
    assert runs_to_decide(1.0, 0.8, 3, band) is None  # on the margin nothing decides


def test_a_spread_of_nothing_is_a_point() -> None:
    assert decide(against_figure([4950, 4950], 4950), Band(0)) == "inside"
    assert decide(against_figure([4951, 4951], 4950), Band(0)) == "outside"
    assert chances(0.0, 0.0, 3, Band(0)).inside == 1.0


def test_equal_whole_shells_still_have_the_spread_of_rounding() -> None:
    assert least_spread([18, 18, 18], "shells") == pytest.approx(1 / math.sqrt(12))
    assert least_spread([18.5, 18, 18], "shells") == 0
    assert least_spread([18, 18], "degrees") == 0
    shells = [18.0, 18.0]
    estimate = against_figure(shells, 18, least_spread(shells, "shells"))
    assert decide(estimate, Band(1)) == "open"  # two runs: +-1.29 shells
    shells = [18.0, 18.0, 18.0]
    assert decide(against_figure(shells, 18, least_spread(shells, "shells")), Band(1)) == "inside"
