"""The time of a whole run from its first iterations, when later ones see more of Fourier space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.compare.scaling.iterations import forecast
from cryorepro.em.errors import InputError

SHELLS = [8, 9, 11, 14, 18, 23, 29, 36, 42, 47, 50, 50]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 100), st.floats(1e-3, 1), st.integers(2, 10))
def test_exact_times_give_the_exact_whole(fixed: float, slope: float, seen: int) -> None:
    times = [fixed + slope * shell**2 for shell in SHELLS]
    found = forecast(times[:seen], SHELLS[:seen], len(SHELLS), 360, SHELLS[seen:])
    assert found.seconds == pytest.approx(sum(times), rel=1e-6)
    assert found.naive < sum(times)
    assert found.at_least <= sum(times) * (1 + 1e-9) and found.at_most >= sum(times)
    assert forecast(times[:seen], SHELLS[:seen], len(SHELLS), 360).seconds is None


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        times = [20 + 0.05 * shell**2 + rng.normal(0, 1.0) for shell in SHELLS]
        found = forecast(times[:7], SHELLS[:7], len(SHELLS), 360, SHELLS[7:])
        assert found.low is not None and found.high is not None
        held += found.low <= sum(times) <= found.high
    assert 179 <= held < 200


def test_iterations_at_one_shell_leave_the_upper_bound_safe() -> None:
    found = forecast([10.0, 10.0], [10, 10], 4, 64, None)
    assert found.at_least == pytest.approx(40)
    assert found.at_most == pytest.approx(20 + 2 * 10 * 3.2**2)


def test_times_that_fall_are_not_extended_below_nothing() -> None:
    found = forecast([30.0, 20.0, 10.0], [8, 16, 24], 6, 64, [30, 31, 32])
    assert found.seconds == pytest.approx(120) and found.seconds_per_square_shell == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shells": [5]}, "each iteration needs both"),
        ({"total_iterations": 1}, "more than the whole run has"),
        ({"planned_shells": [7]}, "1 planned shells for 2 iterations"),
        ({"shells": [5, 33]}, "shell 33 does not exist in a box of 64 px"),
        ({"seconds": [1.0, 0.0]}, "no time"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"seconds": [1.0, 2.0], "shells": [5, 6], "total_iterations": 4, "box_px": 64}
    with pytest.raises(InputError, match=message):
        forecast(**{**arguments, **change})  # type: ignore[arg-type]
