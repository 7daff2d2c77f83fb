"""Published runs side by side: one row for each run of a workload, with its figures and what is in doubt about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryorepro.compare.claims_lint.finding import Finding
from cryorepro.em.errors import InputError
from cryorepro.model.claim import Claim


@dataclass(frozen=True)
class PublishedRun:
    """One published time for a whole run and what goes with it; ``doubts`` are rules that object to a time of it."""

    time: Claim
    resolution: Claim | None = None
    cost: Claim | None = None
    doubts: tuple[str, ...] = field(default=())


def select(claims: Mapping[str, Claim], benchmark: str) -> list[Claim]:
    """The claims of a data set or of a workload.

    Raises:
        InputError: the registry has none.
    """
    chosen = [claim for claim in claims.values() if benchmark in (claim.dataset, claim.workload)]
    if not chosen:
        known = ", ".join(sorted({claim.dataset for claim in claims.values()}))
        raise InputError(f"no claim is about '{benchmark}'; data sets with claims: {known}")
    return chosen


def published_runs(claims: Iterable[Claim], findings: Iterable[Finding]) -> dict[str, list[PublishedRun]]:
    """Runs with a wall time, by workload, the fastest first."""
    doubts: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        for name in finding.claims[:1] if finding.rule in ONE_SIDED else finding.claims:
            if finding.rule not in doubts[name]:
                doubts[name].append(finding.rule)
    by_run: dict[str, list[Claim]] = defaultdict(list)
    chosen = list(claims)
    for claim in chosen:
        if claim.run:
            by_run[claim.run].append(claim)
    found: dict[str, list[PublishedRun]] = defaultdict(list)
    for claim in chosen:
        if claim.quantity == "wall_time" and claim.step is None:
            found[claim.workload].append(_run(claim, by_run.get(claim.run or "", []), doubts))
    return {key: sorted(rows, key=lambda row: row.time.value) for key, rows in found.items()}


# In these the second claim is the sound one that the first is held against.
ONE_SIDED = {"too-short", "scaling", "arithmetic", "order", "memory", "prices"}


def _run(time: Claim, same: list[Claim], doubts: Mapping[str, list[str]]) -> PublishedRun:
    resolutions = [claim for claim in same if claim.quantity.endswith("resolution") and "start" not in claim.quantity]
    resolution = next((claim for claim in resolutions if claim.quantity != "postprocess_resolution"), None)
    cost = next((claim for claim in same if claim.quantity == "cost" and claim.source == time.source), None)
    own = [time, *(claim for claim in same if claim.quantity == "wall_time" and claim.step is not None)]
    rules = dict.fromkeys(rule for claim in own for rule in doubts.get(claim.id, []))
    return PublishedRun(time, resolution, cost, tuple(rules))
