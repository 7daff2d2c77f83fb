"""A run here held against the authors' run: outcome by outcome, within the margins the benchmark declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryorepro.compare.judge import SEVERITY, shown
from cryorepro.compare.reproduce import EXIT_CODES
from cryorepro.model.benchmark import Benchmark, OutcomeSpec, Tolerance
from cryorepro.model.outcome import OutcomeWord


@dataclass(frozen=True)
class Comparison:
    """One outcome of both runs."""

    outcome: str
    theirs: str | None
    here: str | None
    margin: str | None
    word: OutcomeWord
    reason: str


def hold_against(benchmark: Benchmark, theirs: Mapping[str, Any], here: Mapping[str, Any]) -> list[Comparison]:
    """Compare two records of one benchmark.

    One run on either side has no spread of its own, so the best words are ``identical`` (the same bytes) and
    ``within-band-n1``.
    """
    tier = theirs["settings"]["tier"]
    differing = _other_conditions(theirs, here)
    return [
        _compare(spec, tier, theirs, here, differing)
        for spec in benchmark.outcomes
        if tier in spec.tiers and (spec.name in theirs["outcomes"] or spec.name in here["outcomes"])
    ]


def worst(benchmark: Benchmark, rows: list[Comparison]) -> OutcomeWord:
    """The worst word among required outcomes; ``unverifiable`` when there is none."""
    optional = {spec.name for spec in benchmark.outcomes if not spec.required}
    words = [row.word for row in rows if row.outcome not in optional]
    return max(words, key=SEVERITY.index, default="unverifiable")


def exit_code_of(word: OutcomeWord) -> int:
    """The exit code that a script can use."""
    return EXIT_CODES[word]


def _other_conditions(theirs: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """What makes the two runs another experiment; None when nothing does."""
    for name in ("benchmark", "benchmark_version", "dataset", "tier", "data_seed", "parameters"):
        if theirs["settings"].get(name) != here["settings"].get(name):
            return f"the two runs differ in {name}"
    return None


def _compare(
    spec: OutcomeSpec, tier: str, theirs: Mapping[str, Any], here: Mapping[str, Any], differing: str | None
) -> Comparison:
    left, right = theirs["outcomes"].get(spec.name), here["outcomes"].get(spec.name)
    tolerance = _tolerance(spec, tier)
    word, reason = _word(left, right, tolerance, differing)
    margin = f"+-{tolerance.margin:g} {tolerance.unit}" if tolerance else None
    return Comparison(spec.name, shown(left), shown(right), margin, word, reason)


def _tolerance(spec: OutcomeSpec, tier: str) -> Tolerance | None:
    expected = next((row for name, row in spec.expect.items() if name == tier), None)
    return expected.tolerance if expected else spec.tolerance


def _word(
    left: Mapping[str, Any] | None, right: Mapping[str, Any] | None, tolerance: Tolerance | None, differing: str | None
) -> tuple[OutcomeWord, str]:
    if right is None:
        return "failed", "the run here ended before this outcome could be measured"
    if left is None or left["status"] != "measured":
        return "unverifiable", "the authors' run has no such outcome"
    if right["status"] != "measured":
        return "unverifiable", str(right["reason"])
    if differing:
        return "not-comparable", differing
    ours, published = right["value"], left["value"]
    if ours["unit"] != published["unit"] or ours["box_px"] != published["box_px"]:
        return "not-comparable", "the two outcomes have other units or boxes"
    if left["artifacts"] and left["artifacts"] == right["artifacts"] and ours["value"] == published["value"]:
        return "identical", "the same bytes and the same number"
    if tolerance is None or tolerance.unit != ours["unit"]:
        return "inconclusive", "the benchmark declares no margin for this outcome on this tier"
    difference = ours["value"] - published["value"]
    if abs(difference) <= tolerance.margin:
        return "within-band-n1", f"off by {difference:+.4g} {ours['unit']}; one run against one run"
    return "diverged", f"off by {difference:+.4g} {ours['unit']}, beyond the declared margin"
