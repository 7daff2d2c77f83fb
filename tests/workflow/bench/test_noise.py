"""Medians, intervals and stop rules, against their definitions."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryorepro.workflow.bench.calibrate import calibrate
from cryorepro.workflow.bench.noise import median_interval, smallest_visible, spread, stop_rule
from cryorepro.workflow.bench.rounds import Policy, Task, Timing, carry_out

TIMES = st.lists(st.floats(0.001, 1000), min_size=2, max_size=40)


@given(TIMES)
def test_the_interval_is_by_order_statistics_and_says_its_level(values: list[float]) -> None:
    found = median_interval(values)
    assert found is not None
    ordered = sorted(values)
    rank = ordered.index(found.low)
    assert found.low <= statistics.median(values) <= found.high
    best = [r for r in range(len(values) // 2) if 1 - 2 * stats.binom.cdf(r, len(values), 0.5) >= 0.95]
    expected = max(best, default=0)
    assert found.level == pytest.approx(1 - 2 * stats.binom.cdf(expected, len(values), 0.5), abs=1e-4)
    assert (found.low, found.high) == (ordered[expected], ordered[-1 - expected])
    assert rank <= expected


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    for count in (3, 7, 15):
        draws = generator.exponential(size=(4000, count))
        found = [median_interval(list(row)) for row in draws]
        covered = np.mean([one is not None and one.low <= math.log(2) <= one.high for one in found])
        assert covered == pytest.approx(found[0].level if found[0] else 0.0, abs=0.02)


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=30))
def test_spread_is_numpys_quartiles(values: list[float]) -> None:
    low, high = np.percentile(values, [25, 75])
    assert spread(values) == pytest.approx((high - low) / 2 / np.median(values))


def test_what_is_called_visible_is_exceeded_by_noise_one_time_in_twenty() -> None:
    generator = np.random.default_rng(3)
    draws = 1.0 + 0.02 * generator.standard_normal((20000, 2, 5))
    relative = float(np.mean([spread(list(row)) or 0.0 for row in 1.0 + 0.02 * generator.standard_normal((200, 400))]))
    apart = np.abs(np.diff(np.median(draws, axis=2), axis=1)[:, 0])
    assert np.mean(apart > smallest_visible(relative, 5)) == pytest.approx(0.05, abs=0.02)


def test_stop_rules_say_why() -> None:
    assert stop_rule([1.0, 1.0], 0.02, 7, out_of_time=False) is None
    met = stop_rule([1.0, 1.001, 1.002], 0.02, 7, out_of_time=False)
    assert met is not None
    assert met.met
    assert stop_rule([1.0, 2.0, 3.0], 0.02, 7, out_of_time=False) is None
    for values, late in ([1.0, 2.0, 3.0, 4.0], False), ([1.0, 2.0, 3.0], True), ([1.0], True):
        rule = stop_rule(values, 0.02, 4, late)
        assert rule is not None
        assert not rule.met
        assert rule.reason.startswith("not met")


def task(name: str, log: list[str], seconds: list[float]) -> Task:
    times = iter(seconds)

    def run() -> Timing:
        log.append(name)
        return Timing(parts={"half": 0.5}, seconds=next(times))

    return Task(name, "cpu", "cpu", {}, run, lambda: log.append(f"prepare {name}"), 10.0, "x/s", warmups=0)


def test_tests_are_interleaved_and_end_each_by_its_own_rule() -> None:
    log: list[str] = []
    calm, wild = task("calm", log, [2.0] * 9), task("wild", log, [1.0, 9.0, 2.0, 8.0, 3.0])
    first, second = carry_out([calm, wild], Policy(fewest=3, most=5))
    done = [word for word in log if not word.startswith("prepare")]
    assert done == ["calm", "wild"] * 3 + ["wild"] * 2
    assert log[::2] == [f"prepare {name}" for name in done]
    assert first.stop is not None
    assert second.stop is not None
    assert (first.stop.met, second.stop.met) == (True, False)
    assert (first.median_seconds, first.rate, first.sub_seconds) == (2.0, 5.0, {"half": 0.5})
    assert second.seconds == (1.0, 9.0, 2.0, 8.0, 3.0)


def test_out_of_time_each_test_still_ran_once() -> None:
    log: list[str] = []
    results = carry_out([task("a", log, [1.0]), task("b", log, [1.0])], Policy(limit_s=0.0))
    assert [len(result.seconds) for result in results] == [1, 1]
    assert all(result.stop is not None and not result.stop.met for result in results)


def test_out_of_time_after_warming_up_the_warm_up_is_the_one_repeat() -> None:
    log: list[str] = []
    both = [replace(task(name, log, [3.0, 1.0, 1.0, 1.0, 1.0]), warmups=2) for name in "ab"]
    results = carry_out(both, Policy(limit_s=0.0))
    assert [word for word in log if not word.startswith("prepare")] == ["a", "a", "b", "b"], "no third time"
    assert [(result.seconds, result.warmups) for result in results] == [((1.0,), 1)] * 2
    warmed = carry_out([replace(task("a", log, [3.0] + [1.0] * 3), warmups=1)], Policy())
    assert (warmed[0].seconds, warmed[0].warmups) == ((1.0, 1.0, 1.0), 1)


def test_calibration_repeats_for_as_long_as_it_is_told() -> None:
    assert calibrate(0) is None
    found = calibrate(0.6)
    assert found is not None
    assert found.blocks >= 5
    assert 0.2 < found.blocks * found.median_block_seconds < 6.0, "a busy machine only makes blocks longer"
    assert found.smallest_visible == pytest.approx(smallest_visible(found.spread), abs=1e-4)
