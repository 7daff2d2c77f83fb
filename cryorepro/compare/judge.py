"""Verdicts: outcomes held against a twin's own truth and against published claims.

One run has no spread of its own, so the strongest word here is ``within-band-n1``. A twin or a subset never
decides a published claim: the claim then reads ``not-attempted`` with what running it would take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryorepro.model.benchmark import Benchmark, OutcomeSpec, Tolerance
from cryorepro.model.claim import Claim
from cryorepro.model.outcome import OutcomeWord, Verdict

SEVERITY: tuple[OutcomeWord, ...] = (
    "identical", "numerical", "equivalent", "within-band-n1", "not-attempted", "inconclusive", "not-comparable",
    "diverged", "unverifiable", "failed",
)  # fmt: skip


def judge(
    benchmark: Benchmark, tier: str, claims: Mapping[str, Claim], outcomes: Mapping[str, Mapping[str, Any]]
) -> list[Verdict]:
    """All verdicts of one run: self-checks first, then every published claim the benchmark answers to.

    ``outcomes`` maps an outcome's name to its record; a missing one means that the run failed before it.
    """
    verdicts: list[Verdict] = []
    for spec in benchmark.outcomes:
        expectation = next((value for key, value in spec.expect.items() if key == tier), None)
        if expectation is not None:
            record = outcomes.get(spec.name)
            verdicts.append(_self_check(spec, record, expectation.value, expectation.tolerance))
    by_claim = {spec.claim: spec for spec in benchmark.outcomes if spec.claim}
    for identifier in benchmark.claims:
        claim = claims[identifier]
        verdicts.append(_against_claim(benchmark, tier, claim, by_claim.get(identifier), outcomes))
    return verdicts


def overall(benchmark: Benchmark, verdicts: list[Verdict]) -> OutcomeWord:
    """The worst word among required outcomes that were attempted; ``not-attempted`` when there was none."""
    optional = {spec.name for spec in benchmark.outcomes if not spec.required}
    words = [
        verdict.axis_outcome
        for verdict in verdicts
        if verdict.outcome not in optional and verdict.axis_outcome != "not-attempted"
    ]
    return max(words, key=SEVERITY.index, default="not-attempted")


def _self_check(spec: OutcomeSpec, record: Mapping[str, Any] | None, expected: float, tolerance: Tolerance) -> Verdict:
    word, better, reason = _hold(spec, record, expected, None, tolerance)
    return Verdict(
        outcome=spec.name,
        claim=None,
        self_check=True,
        axis_outcome=word,
        axis_assurance="self-repeat",
        better_than_expected=better,
        reason=reason,
        expected=_expected(expected, tolerance),
        measured=shown(record),
        margin=_margin(tolerance),
        margin_reason=tolerance.reason,
    )


def _against_claim(
    benchmark: Benchmark,
    tier: str,
    claim: Claim,
    spec: OutcomeSpec | None,
    outcomes: Mapping[str, Mapping[str, Any]],
) -> Verdict:
    name = spec.name if spec else claim.quantity
    word: OutcomeWord
    better, measured, margin, margin_reason = False, None, None, None
    if tier != "full":
        word = "not-attempted"
        reason = f"a {tier} proves the software, not the published figure"
    elif spec is None or spec.tolerance is None:
        word = "not-comparable"
        reason = f"published for {claim.hardware} with {claim.software}; no rule holds this run's figure against it"
    else:
        record = outcomes.get(spec.name)
        measured = shown(record)
        word, better, reason = _hold(spec, record, claim.value, claim, spec.tolerance)
        margin, margin_reason = _margin(spec.tolerance), spec.tolerance.reason
    command = f"cryorepro reproduce {benchmark.name} --tier full --data PATH"
    needs = f"{claim.needs}; {command}" if claim.needs else command
    return Verdict(
        outcome=name,
        claim=claim.id,
        self_check=False,
        axis_outcome=word,
        axis_assurance="other-system",
        better_than_expected=better,
        reason="; ".join([reason, *claim.defects]),
        expected=claim_value(claim),
        measured=measured,
        margin=margin,
        margin_reason=margin_reason,
        needs=needs if word == "not-attempted" else None,
    )


def _hold(
    spec: OutcomeSpec,
    record: Mapping[str, Any] | None,
    expected: float,
    claim: Claim | None,
    tolerance: Tolerance,
) -> tuple[OutcomeWord, bool, str]:
    """Word, whether better than expected, and the reason."""
    if record is None:
        return "failed", False, "the run ended before this outcome could be measured"
    if record["status"] != "measured":
        return "unverifiable", False, str(record["reason"])
    value = record["value"]
    if claim is not None and claim.shell is not None:
        problem = _other_shells(value, claim)
        if problem:
            return "not-comparable", False, problem
        expected = float(claim.shell)
    if tolerance.unit != value["unit"]:
        problem = f"the tolerance is in {tolerance.unit}, the outcome in {value['unit']}"
        return "not-comparable", False, problem
    difference = float(value["value"]) - expected
    beyond = abs(difference) > tolerance.margin
    if tolerance.direction == "at-least":
        inside, better = difference >= -tolerance.margin, difference > 0
    elif tolerance.direction == "at-most":
        inside, better = difference <= tolerance.margin, difference < 0
    else:
        inside, better = not beyond, beyond and difference > 0 and tolerance.unit == "shells"
    if inside:
        return (
            "within-band-n1",
            better,
            "one run, inside the declared margin; one run has no spread of its own",
        )
    return "diverged", better, f"off by {difference:+.4g} {tolerance.unit}, beyond the declared margin"


def _other_shells(value: Mapping[str, Any], claim: Claim) -> str | None:
    """Why the shells of the two cannot be compared; None when they can."""
    if value["shell"] is None or not value["box_px"] or not claim.box_px or not claim.pixel_size_angstrom:
        return "a resolution without its Fourier shell, box and pixel size cannot be compared"
    here, there = value["box_px"] * value["pixel_size_angstrom"], claim.box_px * claim.pixel_size_angstrom
    if abs(here / there - 1) > 1e-3:
        return f"the box is {here:.1f} A here and {there:.1f} A in the claim: their Fourier shells differ"
    return None


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
