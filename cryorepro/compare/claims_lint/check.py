"""All rules over the published record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryorepro.compare.claims_lint.across import check_across
from cryorepro.compare.claims_lint.arithmetic import check_arithmetic
from cryorepro.compare.claims_lint.conflict import check_conflict
from cryorepro.compare.claims_lint.finding import Finding, Record, Rule
from cryorepro.compare.claims_lint.hardware import check_hardware, check_memory
from cryorepro.compare.claims_lint.identical import check_identical
from cryorepro.compare.claims_lint.ignored import check_ignored
from cryorepro.compare.claims_lint.order import check_order
from cryorepro.compare.claims_lint.prices import check_prices
from cryorepro.compare.claims_lint.printed import check_printed
from cryorepro.compare.claims_lint.profile import check_profile
from cryorepro.compare.claims_lint.ranges import check_ranges
from cryorepro.compare.claims_lint.repeats import check_repeats
from cryorepro.compare.claims_lint.scaling import check_scaling
from cryorepro.compare.claims_lint.shells import check_shells
from cryorepro.compare.claims_lint.too_short import check_too_short
from cryorepro.compare.claims_lint.workload import check_workload
from cryorepro.model.claim import Claim
from cryorepro.model.machines import load_machines
from cryorepro.model.registry import load_claims
from cryorepro.model.workload import load_workloads

RULES: dict[str, Rule] = {
    "arithmetic": check_arithmetic,
    "conflict": check_conflict,
    "printed": check_printed,
    "ranges": check_ranges,
    "shells": check_shells,
    "prices": check_prices,
    "hardware": check_hardware,
    "memory": check_memory,
    "workload": check_workload,
    "ignored-option": check_ignored,
    "identical": check_identical,
    "too-short": check_too_short,
    "scaling": check_scaling,
    "repeats": check_repeats,
    "across": check_across,
    "order": check_order,
    "profile": check_profile,
}


@dataclass(frozen=True)
class Report:
    """What the rules found, and what they could not check."""

    claims: int
    findings: list[Finding]
    unacknowledged: list[Finding]
    unchecked: list[str]

    def only(self, rule: str | None) -> Report:
        """What one rule found; everything for None."""
        if rule is None:
            return self
        findings = [finding for finding in self.findings if finding.rule == rule]
        return replace(self, findings=findings, unacknowledged=[one for one in findings if one in self.unacknowledged])


def shipped_record(directory: Path | None = None) -> Record:
    """The registry that ships with cryorepro, or the one in ``directory``.

    Raises:
        InputError: a file of the registry is malformed.
    """
    claims = load_claims(directory / "claims" if directory else None)
    return Record(claims, load_workloads(directory), load_machines(directory))


def check_claims(record: Record) -> Report:
    """Run every rule.

    A finding is acknowledged when a person noted a defect on one of its claims; ``unchecked`` are figures that their
    source worked out from terms it does not print.
    """
    findings = [finding for rule in RULES.values() for finding in rule(record)]
    unchecked = [claim.id for claim in record.claims.values() if claim.derived is not None and not claim.derived.of]
    return Report(
        claims=len(record.claims),
        findings=findings,
        unacknowledged=[finding for finding in findings if not _acknowledged(finding, record.claims)],
        unchecked=unchecked,
    )


def _acknowledged(finding: Finding, claims: Mapping[str, Claim]) -> bool:
    return any(claims[name].defects for name in finding.claims)
