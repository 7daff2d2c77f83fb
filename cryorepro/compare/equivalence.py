"""Equivalence by two one-sided tests (TOST): is a difference surely inside a declared margin, surely outside, or open?

Two one-sided t tests at 5 % accept exactly when the 90 % confidence interval of the difference lies inside the margin
(Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657). The same interval wholly outside the margin is a divergence,
and anything else is open. Whatever the number of runs, a difference at the margin is accepted at most 5 % of the time
(exactly so for one group against a fixed figure; for two groups up to Welch's approximation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cryorepro.model.benchmark import Tolerance

Direction = Literal["both", "at-least", "at-most"]
Decision = Literal["inside", "outside", "open"]
ONE_SIDED_ERROR = 0.05
SHELL_SD = 1 / math.sqrt(12.0)
"""SD of what is lost by rounding to a whole shell: three equal shells do not mean that nothing varies."""


@dataclass(frozen=True)
class Band:
    """How far a difference may lie from zero, in the outcome's unit."""

    margin: float
    direction: Direction = "both"

    @classmethod
    def of(cls, tolerance: Tolerance) -> Band:
        """The band a benchmark declares."""
        return cls(tolerance.margin, tolerance.direction)

    @property
    def lowest(self) -> float:
        """The least difference that is tolerated."""
        return -math.inf if self.direction == "at-most" else -self.margin

    @property
    def highest(self) -> float:
        """The largest difference that is tolerated."""
        return math.inf if self.direction == "at-least" else self.margin

    def holds(self, difference: float) -> bool:
        """Whether a difference lies inside; rounding of the last bits of a double does not decide."""
        slack = 1e-12 * max(1.0, abs(difference))
        return self.lowest - slack <= difference <= self.highest + slack


@dataclass(frozen=True)
class Estimate:
    """A difference of means with its standard error; ``df`` are the degrees of freedom of that error."""

    difference: float
    standard_error: float
    df: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 90 % confidence interval; each end is a one-sided 95 % bound."""
        half = t_quantile(self.df) * self.standard_error if self.standard_error > 0 else 0.0
        return self.difference - half, self.difference + half


def t_quantile(df: float, error: float = ONE_SIDED_ERROR) -> float:
    """Upper quantile of Student's t: exceeded with probability ``error``."""
    from scipy.special import stdtrit  # type: ignore[import-untyped,unused-ignore]

    return float(stdtrit(df, 1.0 - error))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; the values' own when they are all the same, without rounding."""
    return values[0] if min(values) == max(values) else math.fsum(values) / len(values)


def spread(values: Sequence[float], least: float = 0.0) -> float:
    """Sample SD, but at least ``least`` (:func:`least_spread`); two values or more."""
    middle = mean(values)
    variance = math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)
    return max(math.sqrt(variance), least)


def least_spread(values: Sequence[float], unit: str) -> float:
    """The SD below which a sample's own is not believed: that of rounding, when all values are whole shells."""
    return SHELL_SD if unit == "shells" and all(float(value).is_integer() for value in values) else 0.0


def against_figure(values: Sequence[float], expected: float, least: float = 0.0) -> Estimate:
    """Mean of a group minus a fixed figure (Student, n - 1 degrees of freedom); two values or more."""
    n = len(values)
    return Estimate(mean(values) - expected, spread(values, least) / math.sqrt(n), n - 1)


def between(first: Sequence[float], second: Sequence[float], least: float = 0.0) -> Estimate:
    """Mean of ``second`` minus that of ``first`` (Welch, Satterthwaite's df); two values or more each."""
    parts = [(spread(values, least) ** 2 / len(values), len(values) - 1) for values in (first, second)]
    total = sum(part for part, _ in parts)
    below = sum(part**2 / df for part, df in parts)
    df = total**2 / below if below > 0 else float(sum(df for _, df in parts))
    return Estimate(mean(second) - mean(first), math.sqrt(total), df)


def decide(estimate: Estimate, band: Band) -> Decision:
    """Inside, outside, or open: the 90 % interval held against the band."""
    low, high = estimate.interval
    if band.holds(low) and band.holds(high):
        return "inside"
    beyond = low > band.highest or high < band.lowest
    return "outside" if beyond and not (band.holds(low) or band.holds(high)) else "open"
