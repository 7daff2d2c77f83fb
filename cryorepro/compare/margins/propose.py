"""A margin for each outcome of a benchmark, from an ensemble of runs, with the reason in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryorepro.compare.equivalence import Direction, least_spread
from cryorepro.compare.margins.anova import Components, components
from cryorepro.compare.margins.tolerance import one_sided, two_sided
from cryorepro.em.errors import InputError
from cryorepro.model.benchmark import Benchmark, OutcomeSpec, Tolerance

Run = Mapping[str, Any]
HOLD_OUT_EVERY = 3
"""Every third run of a condition is held out, and must lie inside the margin that the others give."""


@dataclass(frozen=True)
class Settings:
    """Share of further runs that the margin is to hold, and with which confidence."""

    coverage: float = 0.95
    confidence: float = 0.90


@dataclass(frozen=True)
class Proposal:
    """The margin of one outcome; ``margin`` is None when no margin can be defended, and ``reason`` says why."""

    outcome: str
    unit: str
    direction: Direction
    old_value: float | None
    old_margin: float
    value: float | None
    margin: float | None
    reason: str
    parts: Components | None = None
    held_out: int = 0
    moved: tuple[float, ...] = field(default=())


def propose(benchmark: Benchmark, tier: str, runs: Sequence[Run], settings: Settings) -> list[Proposal]:
    """One proposal for each outcome of the tier that has a margin to replace.

    Args:
        benchmark: whose margins.
        tier: of the runs; on ``full`` the margins of the claims are meant, else those of the tier's expectation.
        runs: records with one science key, failed ones included.
        settings: coverage and confidence.
    """
    found = []
    for spec in benchmark.outcomes:
        expectation = next((value for name, value in spec.expect.items() if name == tier), None)
        if expectation is not None:
            found.append(_propose(spec, expectation.tolerance, expectation.value, runs, settings))
        elif tier == "full" and spec.tolerance is not None:
            found.append(_propose(spec, spec.tolerance, None, runs, settings))
    if not found:
        raise InputError(f"benchmark '{benchmark.name}' declares no margin on tier '{tier}'")
    return found


def condition_of(run: Run) -> str:
    """What ISO 5725 calls the laboratory: program, machine, device and threads."""
    programs = [
        " ".join(filter(None, (stage.get("runner"), stage.get("program", {}).get("version"))))
        for stage in run["stages"].values()
    ]
    probes = {probe["name"]: probe["data"] for probe in run["fingerprint"] if probe["status"] == "ok"}
    machine = {f"host {attempt['host_hash'][:6]}" for attempt in run["attempts"] if attempt.get("host_hash")}
    parts = [*dict.fromkeys(programs), str(probes.get("cpu", {}).get("model") or "processor not recorded")]
    settings = run["settings"]
    return ", ".join([*parts, *sorted(machine), f"{settings['device']}, {settings['threads']} threads"])


def _propose(
    spec: OutcomeSpec, tolerance: Tolerance, value: float | None, runs: Sequence[Run], settings: Settings
) -> Proposal:
    old = {"outcome": spec.name, "unit": tolerance.unit, "direction": tolerance.direction, "old_value": value}
    groups, lost, problem = _values(spec, tolerance, runs)
    if problem is None:
        try:
            return _from_groups(groups, lost, old, tolerance, settings)
        except InputError as error:
            problem = str(error)
    return Proposal(**old, old_margin=tolerance.margin, value=None, margin=None, reason=problem)  # type: ignore[arg-type]


def _values(
    spec: OutcomeSpec, tolerance: Tolerance, runs: Sequence[Run]
) -> tuple[dict[str, list[float]], int, str | None]:
    """Measured values by condition in the order of the seeds, how many runs gave none, and what forbids their use."""
    groups: dict[str, list[float]] = {}
    lost = 0
    for run in sorted(runs, key=lambda run: int(run["settings"]["seed"])):
        row = run["outcomes"].get(spec.name)
        if row is None or row["status"] != "measured":
            lost += 1
            continue
        if row["value"]["unit"] != tolerance.unit:
            return {}, lost, f"the margin is in {tolerance.unit}, the outcome in {row['value']['unit']}"
        groups.setdefault(condition_of(run), []).append(float(row["value"]["value"]))
    return groups, lost, None


def _from_groups(
    groups: dict[str, list[float]], lost: int, old: dict[str, Any], tolerance: Tolerance, settings: Settings
) -> Proposal:
    training, held = _split(groups)
    moved: list[float] = []
    everything = [value for values in groups.values() for value in values]
    while True:
        parts = components(list(training.values()), least_spread(everything, tolerance.unit))
        width = _width(parts, tolerance.direction, settings)
        outside = [row for row in held if not _inside(row[1] - parts.mean, width, tolerance.direction)]
        if not outside:
            break
        label, far = max(outside, key=lambda row: abs(row[1] - parts.mean))
        held.remove((label, far))
        training[label].append(far)
        moved.append(far)
    common = {**old, "old_margin": tolerance.margin, "parts": parts, "held_out": len(held), "moved": tuple(moved)}
    if not held:
        reason = "no held-out run was left inside the margin that the others gave; more runs are needed"
        return Proposal(**common, value=None, margin=None, reason=reason)
    margin, value = _rounded(width, parts.mean, tolerance.unit, old["old_value"] is None)
    reason = _reason(parts, margin, tolerance, len(held), moved, lost, groups, settings)
    return Proposal(**common, value=value, margin=margin, reason=reason)


def _split(groups: dict[str, list[float]]) -> tuple[dict[str, list[float]], list[tuple[str, float]]]:
    training = {
        label: [value for place, value in enumerate(values, 1) if place % HOLD_OUT_EVERY]
        for label, values in groups.items()
    }
    held = [
        (label, value)
        for label, values in groups.items()
        for place, value in enumerate(values, 1)
        if place % HOLD_OUT_EVERY == 0
    ]
    if not held:
        raise InputError(
            f"a margin needs at least {HOLD_OUT_EVERY} measured runs of one condition, one of them held out"
        )
    return training, held


def _width(parts: Components, direction: Direction, settings: Settings) -> float:
    factor = two_sided if direction == "both" else one_sided
    return factor(parts.runs, parts.df, settings.coverage, settings.confidence) * parts.total


def factor_of(proposal: Proposal, settings: Settings, runs: int | None = None) -> float | None:
    """How many SDs the margin is wide; with ``runs``, how many it would be for so many runs of one condition."""
    if proposal.parts is None:
        return None
    n, df = (proposal.parts.runs, proposal.parts.df) if runs is None else (runs, runs - 1)
    function = two_sided if proposal.direction == "both" else one_sided
    return function(n, df, settings.coverage, settings.confidence)


def _inside(difference: float, width: float, direction: Direction) -> bool:
    if direction == "at-least":
        return difference >= -width
    if direction == "at-most":
        return difference <= width
    return abs(difference) <= width


def _rounded(width: float, mean: float, unit: str, fixed: bool) -> tuple[float, float | None]:
    """Margin rounded up (whole shells, else two digits) and the expected value on the same grid, widening for it."""
    if width == 0.0:
        return 0.0, None if fixed else mean
    step = 1.0 if unit == "shells" else 10.0 ** (math.floor(math.log10(width)) - 1)
    value = None if fixed else _tidy(round(mean / step) * step)
    off = 0.0 if value is None else abs(value - mean)
    return _tidy(math.ceil((width + off) / step - 1e-9) * step), value


def _tidy(number: float) -> float:
    return float(f"{number:.12g}")


def _reason(
    parts: Components, margin: float, tolerance: Tolerance, held: int, moved: Sequence[float], lost: int,
    groups: Mapping[str, Sequence[float]], settings: Settings,
) -> str:  # fmt: skip
    unit = tolerance.unit
    conditions = f"{parts.conditions} conditions" if parts.conditions > 1 else "one condition"
    many = sum(map(len, groups.values()))
    reproducibility = (
        f"reproducibility SD {parts.reproducibility:.2g} {unit}"
        if parts.reproducibility is not None
        else "reproducibility not measured"
    )
    text = (
        f"Calibrated from {many} runs under {conditions}: mean {parts.mean:.4g}, repeatability SD "
        f"{parts.repeatability:.2g} {unit}, {reproducibility} (ISO 5725-2). A margin of {margin:g} holds "
        f"{settings.coverage:.0%} of further runs with {settings.confidence:.0%} confidence, and {held} held-out "
        f"{'runs lie' if held > 1 else 'run lies'} inside it."
    )
    if moved:
        text += f" {len(moved)} held-out run{'s' if len(moved) > 1 else ''} fell outside at first and widened it."
    if lost:
        text += f" {lost} further runs gave no value."
    return text
