"""The registry as a whole: every file read strictly, every reference between files followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cryorepro.model.claim import Claim
from cryorepro.model.machines import Machines, load_machines, machine_problems
from cryorepro.model.registry import load_claims
from cryorepro.model.workload import Workload, load_gaps, load_workloads


@dataclass(frozen=True)
class RegistryReport:
    """How many records of each kind there are, and what does not fit together."""

    counts: dict[str, int]
    problems: list[str]


def check_registry(directory: Path | None, today: date) -> RegistryReport:
    """Read and check a registry; the shipped one when ``directory`` is None.

    Raises:
        InputError: a file is missing or malformed; names file, line and field.
    """
    claims = load_claims(directory / "claims" if directory else None)
    workloads, gaps, machines = load_workloads(directory), load_gaps(directory), load_machines(directory)
    problems = machine_problems(machines, today)
    for claim in claims.values():
        problems += [f"claim {claim.id}: {problem}" for problem in _references(claim, claims, workloads, machines)]
    unused = sorted(set(workloads) - {claim.workload for claim in claims.values()})
    problems += [f"workload {key}: no claim names it" for key in unused]
    counts = {
        "claims": len(claims),
        "workloads": len(workloads),
        "instances": len(machines.instances),
        "GPUs": len(machines.gpus),
        "storage entries": len(machines.storage),
        "gaps": len(gaps),
    }
    return RegistryReport(counts, problems)


def _references(
    claim: Claim, claims: Mapping[str, Claim], workloads: Mapping[str, Workload], machines: Machines
) -> list[str]:
    problems = []
    if claim.workload not in workloads:
        problems.append(f"workload '{claim.workload}' is not in workloads.yaml")
    elif workloads[claim.workload].dataset != claim.dataset:
        problems.append(
            f"workload '{claim.workload}' belongs to {workloads[claim.workload].dataset}, not {claim.dataset}"
        )
    if claim.instance is not None and claim.instance not in machines.instances:
        problems.append(f"instance '{claim.instance}' is not in instances.yaml")
    if claim.gpu is not None and claim.gpu not in {gpu.family for gpu in machines.gpus.values()}:
        problems.append(f"GPU family '{claim.gpu}' is not in gpus.yaml")
    if claim.derived is not None:
        problems += [f"term '{name}' is not a claim" for name in claim.derived.of if name not in claims]
    return problems
