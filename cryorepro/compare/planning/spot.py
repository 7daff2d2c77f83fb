"""How long work takes on a machine that may be taken away."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interruptions:
    """Interruptions come as a Poisson process while the machine runs.

    Attributes:
        per_hour: their rate, 1/h.
        checkpoint_hours: work between two checkpoints; None when a stage keeps nothing until its end.
        checkpoint_cost_hours: time that writing one takes.
        restart_hours: time from an interruption until work goes on from the last checkpoint; it is paid for.
    """

    per_hour: float = 0.0
    checkpoint_hours: float | None = None
    checkpoint_cost_hours: float = 0.0
    restart_hours: float = 0.0


def expected_hours(work_hours: float, interruptions: Interruptions) -> float:
    """Expected wall time of ``work_hours`` of work, infinite when it cannot be expected to end.

    Every stretch of L hours up to the next checkpoint (its cost included) is repeated from its start until it passes
    uninterrupted, with a restart of R hours, itself interruptible, before each repetition: (exp(l L) - 1) exp(l R) / l
    hours for a rate l. This is the model of Daly 2006 (Future Generation Computer Systems 22, 303) for one segment,
    without its assumption that the work is a whole number of segments; the last stretch writes no checkpoint.
    """
    rate, every = interruptions.per_hour, interruptions.checkpoint_hours
    full = 0 if every is None else max(math.ceil(work_hours / every - 1e-9) - 1, 0)
    last = work_hours - full * (every or 0.0)
    stretch = (every or 0.0) + interruptions.checkpoint_cost_hours
    try:
        return full * _segment(stretch, rate, interruptions.restart_hours) + _segment(
            last, rate, interruptions.restart_hours
        )
    except OverflowError:
        return math.inf


def _segment(hours: float, rate: float, restart: float) -> float:
    if rate == 0:
        return hours
    return math.expm1(rate * hours) / rate * math.exp(rate * restart)
