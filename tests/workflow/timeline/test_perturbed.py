"""What perturbs a time is named, and quiet stages are not accused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cryorepro.workflow.timeline.perturbed import perturbations
from cryorepro.workflow.timeline.series import Timeline
from tests.workflow.timeline.shown import quiet

Trouble = Callable[[Timeline], None]


def reasons(
    timeline: Timeline | None, wall_seconds: float = 60.0, cold: bool = True, cached: float | None = 0.01
) -> list[str]:
    return [flag.reason for flag in perturbations(timeline, wall_seconds, cold, cached)]


@pytest.mark.parametrize("cores", [2, 16, 128])
def test_ten_quiet_runs_are_not_accused(cores: int) -> None:
    assert [reasons(quiet(seed, cores=cores, gpus=2)) for seed in range(10)] == [[]] * 10


def every(column: str, value: float) -> Trouble:
    def change(timeline: Timeline) -> None:
        timeline.columns[column] = [value] * len(timeline)

    return change


def during(column: str, value: float, share: float) -> Trouble:
    def change(timeline: Timeline) -> None:
        count = round(share * len(timeline))
        timeline.columns[column][-count:] = [value] * count

    return change


def on_card(column: str, value: float, share: float = 1.0) -> Trouble:
    def change(timeline: Timeline) -> None:
        count = round(share * len(timeline))
        timeline.gpus[0][column][-count:] = [value] * count

    return change


def both(*troubles: Trouble) -> Trouble:
    def change(timeline: Timeline) -> None:
        for trouble in troubles:
            trouble(timeline)

    return change


@pytest.mark.parametrize(
    ("trouble", "word"),
    [
        (every("other_cores", 1.0), "co-tenants"),
        (during("other_cores", 1.0, 0.15), "co-tenants"),
        (every("stolen_cores", 0.1), "stolen-time"),
        (during("swap_pages", 5000.0, 0.1), "swap"),
        (every("pressure_memory", 0.2), "memory-squeeze"),
        (both(every("memory_limit_hits", 100.0), every("major_faults", 300.0)), "memory-squeeze"),
        (every("quota_stopped", 0.3), "quota"),
        (both(every("pressure_io", 0.6), every("read_bytes", 2e6)), "slow-disk"),
        (both(every("stage_blocked", 1.0), every("read_bytes", 2e6)), "slow-disk"),
        (during("clock_mhz", 2000.0, 0.5), "clock-change"),
        (during("thermal_events", 3.0, 0.05), "throttling"),
        (on_card("throttle_mask", 0x48, 0.1), "throttling"),
        (on_card("throttle_mask", 0x80, 0.1), "throttling"),
        (on_card("sm_clock_mhz", 1200.0, 0.5), "clock-change"),
        (on_card("other_processes", 1.0), "co-tenants"),
    ],
)
def test_each_trouble_has_its_word_and_no_other(trouble: Trouble, word: str) -> None:
    timeline = quiet(gpus=2)
    trouble(timeline)
    assert reasons(timeline) == [word]


def test_on_a_large_machine_one_foreign_core_is_within_the_noise_and_many_are_not() -> None:
    timeline = quiet(cores=128)
    every("other_cores", 1.0)(timeline)
    assert reasons(timeline) == []
    every("other_cores", 20.0)(timeline)
    assert reasons(timeline) == ["co-tenants"]


def test_a_warm_cache_matters_only_when_cold_was_asked_for() -> None:
    assert reasons(quiet(), cached=0.9) == ["warm-cache"]
    assert reasons(quiet(), cached=0.9, cold=False) == []
    assert reasons(quiet(), cached=None) == ["cache-unverified"], "not told is not cold"
    assert reasons(None, wall_seconds=0.1, cached=0.9) == ["warm-cache"], "however short the stage"


def test_a_stopped_or_killed_sampler_is_seen() -> None:
    assert reasons(None) == ["sampler-stopped"]
    assert reasons(None, wall_seconds=0.5) == [], "a stage may end before the sampler begins"
    early = quiet(samples=40)
    assert reasons(early, wall_seconds=60.0) == ["sampler-stopped"], "nothing is known of the last 20 s"
    killed = quiet()
    killed.ended = False
    assert reasons(killed) == ["sampler-stopped"]
    gap = quiet()
    gap.columns["seconds"] = [time + (8.0 if place > 30 else 0.0) for place, time in enumerate(gap.seconds)]
    assert reasons(gap, wall_seconds=68.0) == ["sampler-stopped"]


def test_two_samples_judge_no_mean() -> None:
    timeline = quiet(samples=2)
    every("other_cores", 1.5)(timeline)
    assert reasons(timeline, wall_seconds=1.5) == []
