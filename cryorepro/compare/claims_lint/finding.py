"""What a rule found, and what the rules may look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from cryorepro.model.claim import Claim
from cryorepro.model.machines import Machines
from cryorepro.model.workload import Workload


@dataclass(frozen=True)
class Finding:
    """One contradiction: the claims in it, first the one that is in doubt, and a sentence for a person."""

    rule: str
    claims: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Record:
    """The published record as the rules see it."""

    claims: Mapping[str, Claim]
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    machines: Machines = field(default_factory=lambda: Machines({}, {}, {}))

    @cached_property
    def times(self) -> list[Claim]:
        """Claims that are wall times in seconds, of whole runs and of steps."""
        return [claim for claim in self.claims.values() if claim.quantity == "wall_time" and claim.unit == "seconds"]

    @cached_property
    def by_run(self) -> Mapping[str, list[Claim]]:
        """The claims of each published run."""
        return grouped(self.claims.values(), lambda claim: claim.run)


class Rule(Protocol):
    """A rule: what it is called, and what it finds."""

    def __call__(self, record: Record) -> Iterator[Finding]:
        """Everything in ``record`` that this rule objects to."""
        ...


def grouped(claims: Iterable[Claim], key: Callable[[Claim], Any]) -> dict[Any, list[Claim]]:
    """Claims by ``key``; those whose key is None, or a tuple with no known part, are left out."""
    found: dict[Any, list[Claim]] = defaultdict(list)
    for claim in claims:
        name = key(claim)
        if name is not None:
            found[name].append(claim)
    return found


def devices(claim: Claim) -> int | None:
    """How many GPUs a run used, else how many nodes; None when the source does not say."""
    return claim.gpus or claim.nodes if claim.gpus is not None else None


def minutes(seconds: float) -> str:
    """A time for a person."""
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.1f} min" if seconds < 36000 else f"{seconds / 3600:.1f} h"


def about(claim: Claim) -> str:
    """What a claim is about, for a person: the step, or the whole run, and its hardware."""
    return f"{claim.step or 'the whole run'} on {claim.hardware}"
