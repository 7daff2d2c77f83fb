"""Rule: a row that names a workload ran that workload, else it cannot be compared with the others."""

from __future__ import annotations

from collections.abc import Iterator

from cryorepro.compare.claims_lint.commands import science_options
from cryorepro.compare.claims_lint.finding import Finding, Record
from cryorepro.model.claim import Claim
from cryorepro.model.workload import Workload


def check_workload(record: Record) -> Iterator[Finding]:
    """Claims whose workload is unknown, or whose command differs from it in an option that decides the result."""
    for claim in record.claims.values():
        workload = record.workloads.get(claim.workload)
        if workload is None:
            if record.workloads:
                yield Finding(
                    "workload", (claim.id,), f"its workload '{claim.workload}' is not in registry/workloads.yaml"
                )
        elif workload.complete and workload.command:
            differences = _differences(claim, workload)
            if differences:
                yield Finding("workload", (claim.id,), f"not comparable with {workload.key}: {', '.join(differences)}")


def _differences(claim: Claim, workload: Workload) -> list[str]:
    canonical = science_options(workload.command or "")
    found = [f"{option} left out" for option in claim.without if option in canonical]
    for option, value in science_options(claim.command or "").items():
        wanted = canonical.get(option, workload.defaults.get(option))
        if wanted is None:
            found.append(f"{option} {value}".strip() + " added")
        elif wanted != value:
            found.append(f"{option} {value}, not {wanted}")
    return found
