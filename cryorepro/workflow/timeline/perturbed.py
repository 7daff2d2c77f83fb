"""Whether something besides the stage itself shaped its time, and what.

Each rule gives a word and a sentence with the figures. Every threshold says why it is where it is. A stage of
fewer than three samples is not judged by means.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryorepro.workflow.timeline.columns import HARDWARE_SLOWDOWN, PERIOD_S, POWER_BRAKE, THERMAL
from cryorepro.workflow.timeline.series import Column, Timeline, time_mean

ENOUGH_SAMPLES = 3
OTHERS_CORES, OTHERS_SHARE = 0.25, 0.05
"""Mean use by others: an idle system with its daemons and this program's own watching stays below 0.1 cores."""
BURST_CORES, BURST_SHARE, BURST_TIME = 0.5, 0.1, 0.1
"""Or a tenth of the time with this much: a job of somebody else that came and went."""
STOLEN_SHARE = 0.02
"""Of the cores: time a hypervisor gives to its other guests; below is its own bookkeeping."""
SWAP_PAGES_PER_S = 10.0
"""Idle systems swap out a few cold pages now and then."""
MEMORY_PRESSURE = 0.02
FAULTS_PER_S = 20.0
"""Major faults while a control group meets its limit: the stage's own pages were taken from it."""
QUOTA_SHARE = 0.01
COLD_SHARE = 0.05
"""Of the inputs' pages: headers that were read to plan the stage may be cached."""
CLOCK_SHARE = 0.1
"""Between halves of the stage, of samples under load: turbo clocks of one load vary by a few percent."""
THROTTLED_SHARE = 0.01
IO_PRESSURE, SLOW_BYTES_PER_S = 0.2, 20e6
"""All that could run waited for I/O a fifth of the time, and yet less came than any sound disk reads."""
BLOCKED_SHARE = 0.5
"""Of samples with a process of the stage waiting for a device: on a machine where others compute meanwhile."""
GAP_PERIODS = 5.0
"""A sampler that gets no core for so long was stopped, or the whole machine was."""


@dataclass(frozen=True)
class Flag:
    """One reason why a time is not this machine's own."""

    reason: str
    detail: str


def perturbations(
    timeline: Timeline | None, wall_seconds: float, cold_asked: bool = False, cached: float | None = None
) -> list[Flag]:
    """Every flag of one attempt that took ``wall_seconds``; None stands for a sampler that left nothing.

    ``cached`` is the fraction of the inputs that was in the page cache before the stage began, if it is known.
    """
    flags = list(_cache(cached)) if cold_asked else []
    if timeline is None or not len(timeline):
        if wall_seconds >= GAP_PERIODS * PERIOD_S:
            flags.append(Flag("sampler-stopped", "the sampler left no samples: nothing about this time can be told"))
        return flags
    flags += _sampler(timeline, wall_seconds)
    if len(timeline) >= ENOUGH_SAMPLES:
        rules: tuple[Callable[[Timeline], Iterator[Flag]], ...] = (_others, _memory, _quota, _disk, _clock, _gpus)
        flags += [flag for rule in rules for flag in rule(timeline)]
    return flags


def _sampler(timeline: Timeline, wall_seconds: float) -> Iterator[Flag]:
    seconds = timeline.seconds
    allowed = GAP_PERIODS * timeline.period_s
    gaps = [later - earlier for earlier, later in zip(seconds, seconds[1:], strict=False)]
    longest = max([*gaps, wall_seconds - seconds[-1]])
    if longest > allowed:
        yield Flag("sampler-stopped", f"no sample for {longest:.1f} s of {wall_seconds:.1f} s")
    elif not timeline.ended:
        yield Flag("sampler-stopped", "the sampler was killed before the stage ended")


def _cache(cached: float | None) -> Iterator[Flag]:
    if cached is None:
        yield Flag("cache-unverified", "a cold cache was asked for; how much was cached cannot be told here")
    elif cached > COLD_SHARE:
        yield Flag("warm-cache", f"a cold cache was asked for; {cached:.0%} of the inputs was cached at the start")


def _others(timeline: Timeline) -> Iterator[Flag]:
    cores = timeline.cores
    mean = timeline.mean("other_cores") or 0.0
    burst = max(BURST_CORES, BURST_SHARE * cores)
    above: Column = [None if value is None else float(value > burst) for value in timeline.columns["other_cores"]]
    share = time_mean(timeline.seconds, above) or 0.0
    if mean > max(OTHERS_CORES, OTHERS_SHARE * cores):
        yield Flag("co-tenants", f"others used {mean:.2f} of {cores} cores in the mean")
    elif share > BURST_TIME:
        yield Flag("co-tenants", f"others used more than {burst:.1f} of {cores} cores for {share:.0%} of the time")
    stolen = (timeline.mean("stolen_cores") or 0.0) / cores
    if stolen > STOLEN_SHARE:
        yield Flag("stolen-time", f"the hypervisor kept {stolen:.1%} of the cores' time from this machine")


def _memory(timeline: Timeline) -> Iterator[Flag]:
    swapped = timeline.mean("swap_pages") or 0.0
    if swapped > SWAP_PAGES_PER_S:
        yield Flag("swap", f"{swapped:.0f} pages a second were swapped")
    waited = timeline.mean("pressure_memory") or 0.0
    hits, faults = timeline.mean("memory_limit_hits") or 0.0, timeline.mean("major_faults") or 0.0
    if waited > MEMORY_PRESSURE:
        yield Flag("memory-squeeze", f"threads waited for memory {waited:.0%} of the time")
    elif hits > 0 and faults > FAULTS_PER_S:
        yield Flag(
            "memory-squeeze", f"the memory limit was met {hits:.0f} times a second, {faults:.0f} pages came back"
        )


def _quota(timeline: Timeline) -> Iterator[Flag]:
    stopped = timeline.mean("quota_stopped") or 0.0
    if stopped > QUOTA_SHARE:
        yield Flag("quota", f"the control group was stopped by its processor quota {stopped:.0%} of the time")


def _disk(timeline: Timeline) -> Iterator[Flag]:
    pressure = timeline.mean("pressure_io") or 0.0
    blocked: Column = [None if count is None else float(count > 0) for count in timeline.columns["stage_blocked"]]
    share = time_mean(timeline.seconds, blocked) or 0.0
    moved = (timeline.mean("read_bytes") or 0.0) + (timeline.mean("written_bytes") or 0.0)
    if moved >= SLOW_BYTES_PER_S:
        return
    if pressure > IO_PRESSURE:
        yield Flag("slow-disk", f"everything waited for I/O {pressure:.0%} of the time, at {moved / 1e6:.1f} MB/s")
    elif share > BLOCKED_SHARE:
        yield Flag("slow-disk", f"the stage waited for a device in {share:.0%} of samples, at {moved / 1e6:.1f} MB/s")


def _clock(timeline: Timeline) -> Iterator[Flag]:
    if sum(timeline.known("thermal_events")) > 0:
        yield Flag("throttling", "processor cores were slowed down for heat")
    loaded = [
        clock
        for clock, cores in zip(timeline.columns["clock_mhz"], timeline.columns["stage_cores"], strict=True)
        if clock is not None and cores is not None and cores > 0.5
    ]
    yield from _halves("processor clock", loaded)


def _gpus(timeline: Timeline) -> Iterator[Flag]:
    for number, card in enumerate(timeline.gpus):
        loaded = [place for place, load in enumerate(card["load"]) if load is not None and load > 0.5]
        masks = [int(card["throttle_mask"][place] or 0) for place in loaded]
        bad = sum(bool(mask & (HARDWARE_SLOWDOWN | THERMAL | POWER_BRAKE)) for mask in masks)
        if bad > THROTTLED_SHARE * max(1, len(masks)):
            yield Flag("throttling", f"GPU {number} was slowed down in {bad} of {len(masks)} samples under load")
        clocks = [clock for place in loaded if (clock := card["sm_clock_mhz"][place]) is not None]
        yield from _halves(f"GPU {number} clock", clocks)
        first = next((value for value in card["other_processes"] if value is not None), 0.0)
        if first > 0:
            # Before the stage opened the card: within containers its own processes may bear other numbers.
            yield Flag("co-tenants", f"{first:.0f} other processes computed on GPU {number} when the stage began")


def _halves(name: str, clocks: list[float]) -> Iterator[Flag]:
    if len(clocks) < 2 * ENOUGH_SAMPLES:
        return
    middle = len(clocks) // 2
    first, second = statistics.median(clocks[:middle]), statistics.median(clocks[middle:])
    if abs(first - second) > CLOCK_SHARE * max(first, second):
        yield Flag("clock-change", f"{name} went from {first:.0f} to {second:.0f} MHz under load")
