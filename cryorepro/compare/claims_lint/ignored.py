"""Rule: a RELION command has no option that RELION would ignore, for then the workload is not what it seems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from cryorepro.compare.claims_lint.commands import ignored_options
from cryorepro.compare.claims_lint.finding import Finding, Record


def check_ignored(record: Record) -> Iterator[Finding]:
    """Options with one dash: a finding for each source, workload and option, with one claim of each run."""
    found: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for claim in sorted(record.claims.values(), key=lambda claim: (claim.step is not None, claim.id)):
        if claim.command and claim.software.startswith("RELION"):
            for option in ignored_options(claim.command):
                found[claim.source, claim.workload, option].setdefault(claim.run or claim.id, claim.id)
    for (_, workload, option), runs in found.items():
        yield Finding(
            "ignored-option",
            tuple(runs.values()),
            f"{option} has one dash: RELION takes it for an unknown option and leaves it out "
            f"({len(runs)} runs of {workload})",
        )
