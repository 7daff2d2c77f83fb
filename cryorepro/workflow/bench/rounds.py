"""Tests carried out in rounds, each once a round, so that a machine that drifts drifts under all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryorepro.model.bench import BenchTest, Group
from cryorepro.workflow.bench.noise import median_interval, stop_rule

ORDER = "interleaved: every test once a round"


@dataclass(frozen=True)
class Policy:
    """When a test has been repeated enough."""

    wanted_spread: float = 0.02
    fewest: int = 3
    most: int = 7
    limit_s: float = 60.0


@dataclass
class Timing:
    """What one repeat tells: parts by name, facts that were checked. The whole is timed outside, or given."""

    parts: dict[str, float] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True)
class Task:
    """A test to be repeated: ``run`` does the work once; ``prepare`` comes before each repeat, untimed."""

    name: str
    group: Group
    device: str
    workload: dict[str, Any]
    run: Callable[[], Timing]
    prepare: Callable[[], None] | None = None
    amount: float | None = None
    rate_unit: str | None = None
    tags: tuple[str, ...] = ()
    warmups: int = 1


def carry_out(tasks: Sequence[Task], policy: Policy, say: Callable[[str], None] = lambda _: None) -> list[BenchTest]:
    """Repeat every task until its spread is met, it was repeated often enough or the time is up.

    The limit is for all tasks together; each runs at least once. Where the time was up after warming up, the last
    warm-up is the one repeat, and counted as such: a machine that others use is not kept for twice as long.
    """
    started = time.monotonic()
    warm: dict[str, Timing] = {}
    for task in tasks:
        for _ in range(task.warmups):
            warm[task.name] = _once(task)
    taken: dict[str, list[Timing]] = {task.name: [] for task in tasks}
    finished: dict[str, BenchTest] = {}
    while len(finished) < len(tasks):
        for task in tasks:
            if task.name in finished:
                continue
            out_of_time = _over(started, policy)
            if out_of_time and not taken[task.name] and task.name in warm:
                taken[task.name].append(warm[task.name])
            elif not (out_of_time and taken[task.name]):
                taken[task.name].append(_once(task))
            seconds = [timing.seconds or 0.0 for timing in taken[task.name]]
            enough = len(seconds) >= policy.fewest or _over(started, policy)
            rule = stop_rule(seconds, policy.wanted_spread, policy.most, _over(started, policy)) if enough else None
            if rule is not None:
                spent = task.name in warm and taken[task.name][0] is warm[task.name]
                changes = {"stop": rule, "warmups": task.warmups - spent}
                finished[task.name] = _result(task, taken[task.name]).model_copy(update=changes)
                say(task.name)
    return [finished[task.name] for task in tasks]


def _over(started: float, policy: Policy) -> bool:
    return time.monotonic() - started > policy.limit_s


def _once(task: Task) -> Timing:
    if task.prepare is not None:
        task.prepare()
    began = time.perf_counter()
    timing = task.run()
    elapsed = time.perf_counter() - began
    if timing.seconds is None:
        timing.seconds = elapsed
    return timing


def _result(task: Task, timings: list[Timing]) -> BenchTest:
    seconds = [timing.seconds or 0.0 for timing in timings]
    middle = statistics.median(seconds)
    parts = {name: statistics.median(timing.parts.get(name, 0.0) for timing in timings) for name in timings[0].parts}
    return BenchTest(
        name=task.name,
        group=task.group,
        device=task.device,
        tags=task.tags,
        workload=task.workload,
        seconds=tuple(round(value, 6) for value in seconds),
        median_seconds=round(middle, 6),
        interval=median_interval(seconds),
        warmups=task.warmups,
        rate=task.amount / middle if task.amount and middle > 0 else None,
        rate_unit=task.rate_unit,
        sub_seconds={name: round(value, 6) for name, value in parts.items()},
        checks=_checks(timings),
    )


def _checks(timings: list[Timing]) -> dict[str, Any]:
    """What was checked, the same for all repeats, or the worst of a fraction."""
    merged: dict[str, Any] = {}
    for timing in timings:
        for name, value in timing.checks.items():
            old = merged.get(name, value)
            merged[name] = max(old, value) if isinstance(value, float) and isinstance(old, float) else value
    return merged
