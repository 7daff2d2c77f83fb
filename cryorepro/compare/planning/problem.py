"""What is planned: stages, machines they may be rented on, what a plan costs and takes. Imports no solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Offer:
    """A machine at a price: an instance on demand, or the same instance as a spot machine."""

    instance: str
    usd_per_hour: float
    gpus: int
    spot: bool = False

    @property
    def name(self) -> str:
        """The instance, with its market when that is the spot market."""
        return f"{self.instance} (spot)" if self.spot else self.instance


@dataclass(frozen=True)
class Work:
    """A stage on an offer: its (expected) time, the GPUs of one job, jobs side by side, and whether it was modelled."""

    hours: float
    gpus: int
    abreast: int = 1
    modelled: bool = False


@dataclass(frozen=True)
class Problem:
    """Stages in order, offers, and the work of each stage on each offer that can do it.

    ``together`` maps neighbouring stages (first, last) that may run side by side to the hours they then take by offer.
    ``storage_usd_per_hour`` is paid for the whole time, ``boot_hours`` whenever another machine is started.
    """

    stages: Sequence[str]
    offers: Sequence[Offer]
    work: dict[tuple[int, int], Work]
    together: dict[tuple[int, int], dict[int, float]] = field(default_factory=dict)
    storage_usd_per_hour: float = 0.0
    boot_hours: float = 0.0


@dataclass(frozen=True)
class Plan:
    """An offer for every stage; ``abreast`` are the (first, last) stages that run side by side."""

    choice: tuple[int, ...]
    abreast: frozenset[tuple[int, int]]
    hours: float
    usd: float

    def machines(self, problem: Problem) -> list[str]:
        """Names of the machines in the order in which they are started."""
        return [problem.offers[self.choice[k]].name for k in starts(self.choice)]


def starts(choice: Sequence[int]) -> list[int]:
    """Stages before which a machine is started."""
    return [k for k, offer in enumerate(choice) if k == 0 or choice[k - 1] != offer]


def evaluate(problem: Problem, choice: Sequence[int], abreast: frozenset[tuple[int, int]] = frozenset()) -> Plan:
    """Time and cost of a plan by plain arithmetic, whoever made it.

    Raises:
        KeyError: a stage cannot run on its offer, or stages cannot run side by side.
    """
    spans = {first: (first, last) for first, last in abreast}
    hours = usd = 0.0
    k = 0
    while k < len(choice):
        price = problem.offers[choice[k]].usd_per_hour
        if k in spans:
            span = spans[k]
            if len(set(choice[k : span[1] + 1])) != 1:
                raise KeyError(f"stages {span} run side by side on different machines")
            taken = problem.together[span][choice[k]]
            k = span[1] + 1
        else:
            taken = problem.work[k, choice[k]].hours
            k += 1
        hours, usd = hours + taken, usd + taken * price
    for stage in starts(choice):
        hours += problem.boot_hours
        usd += problem.boot_hours * problem.offers[choice[stage]].usd_per_hour
    return Plan(tuple(choice), abreast, hours, usd + hours * problem.storage_usd_per_hour)
