"""Verdicts: outcomes held against a twin's own truth and against published claims.

One run has no spread of its own, so the strongest word it can get is ``within-band-n1``; a group of replicates is held
by two one-sided tests. A twin or a subset never decides a published claim: the claim then reads ``not-attempted`` with
what running it would take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryorepro.compare.comparability.rules import rule_table
from cryorepro.compare.equivalence import mean
from cryorepro.compare.verdict.hold import Held, hold
from cryorepro.compare.verdict.times import altered, departures, hold_times, other_conditions
from cryorepro.compare.verdict.words import worst
from cryorepro.model.benchmark import Benchmark, OutcomeSpec, Tolerance
from cryorepro.model.claim import Claim
from cryorepro.model.outcome import OutcomeWord, PerformanceWord, Verdict

Run = Mapping[str, Any]
TIME = "wall_time"


def judge(benchmark: Benchmark, claims: Mapping[str, Claim], runs: Sequence[Run]) -> list[Verdict]:
    """All verdicts of one run, or of a group of its replicates: self-checks first, then every published claim.

    ``runs`` are records (``workflow.record.run_record``) with one science key; failed ones belong to them.
    """
    tier = runs[0]["settings"]["tier"]
    verdicts: list[Verdict] = []
    for spec in benchmark.outcomes:
        expectation = next((value for key, value in spec.expect.items() if key == tier), None)
        if expectation is not None:
            held = hold(_rows(runs, spec.name), expectation.value, None, expectation.tolerance)
            verdicts.append(_self_check(spec, held, runs, expectation.value, expectation.tolerance))
    by_claim = {spec.claim: spec for spec in benchmark.outcomes if spec.claim}
    for identifier in benchmark.claims:
        claim = claims[identifier]
        if claim.quantity == TIME:
            verdicts.append(_against_time(benchmark, claim, runs))
        else:
            verdicts.append(_against_claim(benchmark, claim, by_claim.get(identifier), runs))
    return verdicts


def overall(benchmark: Benchmark, verdicts: Sequence[Verdict]) -> OutcomeWord:
    """The worst word among required outcomes that were attempted; ``not-attempted`` when there was none."""
    optional = {spec.name for spec in benchmark.outcomes if not spec.required}
    return worst(
        verdict.axis_outcome
        for verdict in verdicts
        if verdict.kind == "outcome" and verdict.outcome not in optional and verdict.axis_outcome != "not-attempted"
    )


def performance(verdicts: Sequence[Verdict]) -> tuple[PerformanceWord, str]:
    """The run's word on the performance axis: that of the published time whose conditions it meets."""
    times = [verdict for verdict in verdicts if verdict.kind == "time"]
    met = [verdict for verdict in times if verdict.axis_performance != "not-comparable"]
    if met:
        return met[0].axis_performance, f"{met[0].claim}: {met[0].performance_reason}"
    if not times:
        return "not-comparable", "no published time to compare with"
    return "not-comparable", str(times[0].performance_reason)


def _rows(runs: Sequence[Run], name: str) -> list[Mapping[str, Any] | None]:
    return [run["outcomes"].get(name) for run in runs]


def _self_check(spec: OutcomeSpec, held: Held, runs: Sequence[Run], expected: float, tolerance: Tolerance) -> Verdict:
    return Verdict(
        outcome=spec.name,
        claim=None,
        self_check=True,
        axis_outcome=held.word,
        axis_assurance="self-repeat",
        better_than_expected=held.better,
        reason="; ".join([held.reason, *_unforeseen(runs)]),
        expected=_expected(expected, tolerance),
        measured=_measured(_rows(runs, spec.name), held),
        margin=_margin(tolerance),
        margin_reason=tolerance.reason,
        **_group(held, runs),
    )


def _unforeseen(runs: Sequence[Run]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in altered(run))
    return [f"the margin was declared for other values of {', '.join(names)}"] if names else []


def _against_claim(benchmark: Benchmark, claim: Claim, spec: OutcomeSpec | None, runs: Sequence[Run]) -> Verdict:
    held, margin, margin_reason, measured = _hold_claim(claim, spec, runs), None, None, None
    if held.word != "not-attempted" and spec is not None and spec.tolerance is not None:
        measured = _measured(_rows(runs, spec.name), held)
        margin, margin_reason = _margin(spec.tolerance), spec.tolerance.reason
    return Verdict(
        outcome=spec.name if spec else claim.quantity,
        claim=claim.id,
        self_check=False,
        axis_outcome=held.word,
        axis_assurance="other-system",
        better_than_expected=held.better,
        reason="; ".join([held.reason, *claim.defects]),
        expected=claim_value(claim),
        measured=measured,
        margin=margin,
        margin_reason=margin_reason,
        needs=_needs(benchmark, claim) if held.word == "not-attempted" else None,
        **_group(held, runs),
    )


def _hold_claim(claim: Claim, spec: OutcomeSpec | None, runs: Sequence[Run]) -> Held:
    tier = runs[0]["settings"]["tier"]
    if tier != "full":
        return Held("not-attempted", f"a {tier} proves the software, not the published figure")
    if spec is None or spec.tolerance is None:
        published = f"published for {claim.hardware} with {claim.software}"
        return Held("not-comparable", f"{published}; no rule holds this run's figure against it")
    changed = [text for run in runs for text in departures(run)]
    if changed:
        return Held("not-comparable", changed[0])
    return hold(_rows(runs, spec.name), claim.value, claim, spec.tolerance)


def _against_time(benchmark: Benchmark, claim: Claim, runs: Sequence[Run]) -> Verdict:
    """A published time is judged on the performance axis alone, and only under its own conditions."""
    conditions = list(dict.fromkeys(text for run in runs for text in other_conditions(run, claim, benchmark)))
    word, why = ("not-comparable", "; ".join(conditions)) if conditions else hold_times(runs, claim.value)
    tier = runs[0]["settings"]["tier"]
    reason = f"a {tier} proves the software, not the published figure" if tier != "full" else f"{word}: {why}"
    return Verdict(
        outcome=claim.quantity,
        claim=claim.id,
        self_check=False,
        kind="time",
        axis_outcome="not-attempted",
        axis_performance=word,
        performance_reason=why,
        reason="; ".join([reason, *claim.defects]),
        expected=claim_value(claim),
        needs=_needs(benchmark, claim) if tier != "full" else None,
        runs=len(runs),
        rules_version=rule_table().version,
    )


def _needs(benchmark: Benchmark, claim: Claim) -> str:
    command = f"cryorepro reproduce {benchmark.name} --tier full --data PATH"
    return f"{claim.needs}; {command}" if claim.needs else command


def _group(held: Held, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "runs": len(runs),
        "measured_runs": len(held.values),
        "mean": mean(held.values) if held.values else None,
        "spread": held.spread,
        "interval": held.interval,
        "more_runs": held.more_runs,
        "rules_version": rule_table().version,
    }


def _measured(rows: Sequence[Mapping[str, Any] | None], held: Held) -> str | None:
    """The figure of one run, or mean and SD of several."""
    told = [row for row in rows if row is not None and row["status"] == "measured"]
    if len(told) < 2 or held.spread is None:
        return shown(told[0]) if told else None
    unit = told[0]["value"]["unit"]
    return f"{mean(held.values):.4g} {unit}, SD {held.spread:.2g}, n = {len(told)} of {len(rows)}"


def _expected(expected: float, tolerance: Tolerance) -> str:
    word = {"both": "", "at-least": "at least ", "at-most": "at most "}[tolerance.direction]
    return f"{word}{expected:g} {tolerance.unit}"


def _margin(tolerance: Tolerance) -> str:
    sign = {"both": "+-", "at-least": "-", "at-most": "+"}[tolerance.direction]
    return f"{sign}{tolerance.margin:g} {tolerance.unit}"


def claim_value(claim: Claim) -> str:
    """The claim's figure for a person; a resolution with its shell."""
    if claim.shell is not None:
        return f"{claim.value:g} A (shell {claim.shell})"
    if claim.unit == "seconds":
        return f"{claim.value / 60:.1f} min"
    return f"{claim.value:g} {claim.unit}"


def shown(record: Mapping[str, Any] | None) -> str | None:
    """A measured outcome for a person; a resolution in Angstrom with its shell."""
    if record is None or record["status"] != "measured":
        return None
    value = record["value"]
    if value["shell"] and value["box_px"] and value["pixel_size_angstrom"]:
        angstrom = value["box_px"] * value["pixel_size_angstrom"] / value["value"] if value["value"] else float("inf")
        return f"{value['value']:g} shells ({angstrom:.2f} A)"
    return f"{value['value']:.4g} {value['unit']}"
