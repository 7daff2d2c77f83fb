"""Measured values of one outcome held against a figure, or against another group's: the word and its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryorepro.compare.equivalence import Band, Estimate, against_figure, between, decide, least_spread, mean, spread
from cryorepro.model.benchmark import Tolerance
from cryorepro.model.claim import Claim
from cryorepro.model.outcome import OutcomeWord

OutcomeRow = Mapping[str, Any]


@dataclass(frozen=True)
class Held:
    """A word with its reason and what it rests on; differences are measured minus expected, in the outcome's unit."""

    word: OutcomeWord
    reason: str
    better: bool = False
    values: tuple[float, ...] = field(default=())
    spread: float | None = None
    interval: tuple[float, float] | None = None
    more_runs: int | None = None


def hold(rows: Sequence[OutcomeRow | None], expected: float, claim: Claim | None, tolerance: Tolerance) -> Held:
    """The outcome of one run or of a group of replicates held against ``expected`` or the claim's own shell.

    ``rows`` are the outcome's records of every member; None for a member that ended before it.
    """
    missing = _missing(rows)
    if missing is not None:
        return missing
    values = [row["value"] for row in rows if row is not None and row["status"] == "measured"]
    for value in values:
        problem = (_other_shells(value, claim) if claim else None) or _other_unit(value, tolerance)
        if problem:
            return Held("not-comparable", problem)
    if claim is not None and claim.shell is not None:
        expected = float(claim.shell)
    numbers = [float(value["value"]) for value in values]
    if len(rows) == 1:
        return _explained(_one(numbers[0] - expected, Band.of(tolerance), tolerance, numbers), values)
    if len(numbers) == 1:
        held = _one(numbers[0] - expected, Band.of(tolerance), tolerance, numbers)
    else:
        least = least_spread(numbers, tolerance.unit)
        held = _decided(against_figure(numbers, expected, least), spread(numbers, least), numbers, tolerance)
    return _with_lost(_explained(held, values), len(rows) - len(numbers), len(rows))


def _explained(held: Held, values: Sequence[Mapping[str, Any]]) -> Held:
    """The reason with what the metric found to be wrong (``diagnosis`` among its details), each sentence once.

    It is told inside the margin as well: the margin decides the word, not what a person may know.
    """
    found = [text for value in values for text in (value.get("details") or {}).get("diagnosis", [])]
    if not found:
        return held
    return replace(held, reason="; ".join([held.reason, *dict.fromkeys(map(str, found))]))


def hold_groups(
    first: Sequence[OutcomeRow | None], second: Sequence[OutcomeRow | None], tolerance: Tolerance | None
) -> Held:
    """The outcome of the second group of runs held against the first's, within the declared margin."""
    missing = _missing(second) or _missing(first)
    if missing is not None:
        return missing
    left, right = ([row["value"] for row in rows if row and row["status"] == "measured"] for rows in (first, second))
    if len({(row["unit"], row["box_px"], row["pixel_size_angstrom"]) for row in [*left, *right]}) > 1:
        return Held("not-comparable", "the outcomes have other units, boxes or pixel sizes")
    ours = tuple(float(row["value"]) for row in right)
    theirs = [float(row["value"]) for row in left]
    if tolerance is None or tolerance.unit != right[0]["unit"]:
        return Held("inconclusive", "the benchmark declares no margin for this outcome on this tier", values=ours)
    both = tolerance.model_copy(update={"direction": "both"})
    least = least_spread([*theirs, *ours], tolerance.unit)
    if min(len(ours), len(theirs)) == 1:
        held = _one(
            mean(ours) - mean(theirs), Band.of(both), both, list(ours), f"{len(theirs)} against {len(ours)} runs"
        )
    else:
        pairs = math.hypot(spread(theirs, least), spread(ours, least))
        held = _decided(between(theirs, ours, least), pairs, list(ours), both)
    lost = len(first) + len(second) - len(ours) - len(theirs)
    return _with_lost(held, lost, len(first) + len(second))


def _missing(rows: Sequence[OutcomeRow | None]) -> Held | None:
    """The word for a group without a single measured value; None when there is one."""
    if any(row is not None and row["status"] == "measured" for row in rows):
        return None
    told = [row for row in rows if row is not None]
    if told:
        return Held("unverifiable", str(told[0]["reason"]))
    return Held("failed", "the run ended before this outcome could be measured")


def _with_lost(held: Held, lost: int, of: int) -> Held:
    """What failed or could not be verified may be what would have differed: such a group proves nothing."""
    if not lost:
        return held
    text = f"{lost} of {of} runs gave no value for it"
    if held.word in ("equivalent", "within-band-n1"):
        return replace(held, word="inconclusive", reason=f"{text}; the others: {held.reason}")
    return replace(held, reason=f"{held.reason}; {text}")


def _one(difference: float, band: Band, tolerance: Tolerance, values: list[float], runs: str = "one run") -> Held:
    better = _better(difference, band, tolerance)
    if band.holds(difference):
        tail = "one run has no spread of its own" if runs == "one run" else f"off by {difference:+.4g} {tolerance.unit}"
        return Held("within-band-n1", f"{runs}, inside the declared margin; {tail}", better, tuple(values))
    off = f"off by {difference:+.4g} {tolerance.unit}, beyond the declared margin"
    return Held("diverged", off, better, tuple(values))


def _decided(estimate: Estimate, sd: float, values: list[float], tolerance: Tolerance) -> Held:
    """``sd``: the spread of runs against a figure, of pairs of runs between groups."""
    band, (low, high) = Band.of(tolerance), estimate.interval
    bounds = f"{len(values)} runs, 90 % interval of the difference {low:+.3g} to {high:+.3g} {tolerance.unit}"
    # Better than expected is said of a group only where the whole interval is.
    better = _better(high if band.direction == "at-most" else low, band, tolerance)
    held = Held("equivalent", bounds, better, tuple(values), sd, (low, high))
    answer = decide(estimate, band)
    if answer == "inside":
        return replace(held, reason=f"{bounds}, inside the declared margin")
    if answer == "outside":
        return replace(held, word="diverged", reason=f"{bounds}, wholly beyond the declared margin")
    from cryorepro.compare.power import runs_to_decide

    more = runs_to_decide(estimate.difference, sd, len(values), band)
    advice = f"{more} more would probably decide" if more else "not even 1,000 runs would probably decide"
    return replace(held, word="inconclusive", reason=f"{bounds}, across the margin; {advice}", more_runs=more)


def _better(difference: float, band: Band, tolerance: Tolerance) -> bool:
    """Better than expected: any gain where only one side is bounded, more shells than the margin where both are."""
    if band.direction == "at-least":
        return difference > 0
    if band.direction == "at-most":
        return difference < 0
    return tolerance.unit == "shells" and difference > 0 and not band.holds(difference)


def _other_unit(value: Mapping[str, Any], tolerance: Tolerance) -> str | None:
    if tolerance.unit == value["unit"]:
        return None
    return f"the tolerance is in {tolerance.unit}, the outcome in {value['unit']}"


def _other_shells(value: Mapping[str, Any], claim: Claim) -> str | None:
    """Why the shells of the two cannot be compared; None when they can."""
    if claim.shell is None:
        return None
    if value["shell"] is None or not value["box_px"] or not claim.box_px or not claim.pixel_size_angstrom:
        return "a resolution without its Fourier shell, box and pixel size cannot be compared"
    here, there = value["box_px"] * value["pixel_size_angstrom"], claim.box_px * claim.pixel_size_angstrom
    if abs(here / there - 1) > 1e-3:
        return f"the box is {here:.1f} A here and {there:.1f} A in the claim: their Fourier shells differ"
    return None
