"""Medians, their intervals, spread, and when to stop repeating. No assumption on how times are distributed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from cryorepro.model.bench import Interval, StopRule

LEVEL = 0.95
FEWEST = 3


def median_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Bounds of the median from order statistics (Hahn and Meeker, Statistical Intervals, 5.2); None below two.

    The narrowest pair of equal ranks from both ends that reaches ``level``; with too few values, the extremes
    with the level these have, which is then below ``level``.
    """
    ordered = sorted(values)
    count = len(ordered)
    if count < 2:
        return None
    best = (0, _coverage(count, 0))
    for rank in range(count // 2):
        coverage = _coverage(count, rank)
        if coverage >= level:
            best = (rank, coverage)
    rank, coverage = best
    return Interval(low=ordered[rank], high=ordered[count - 1 - rank], level=round(coverage, 4))


def spread(values: Sequence[float]) -> float | None:
    """Half the interquartile range over the median; None below three values or for a median of 0."""
    middle = statistics.median(values) if values else 0.0
    if len(values) < FEWEST or middle <= 0:
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2.0 / middle


def stop_rule(values: Sequence[float], wanted: float, most: int, out_of_time: bool) -> StopRule | None:
    """Whether to stop, and why; None to go on."""
    now = spread(values)
    met = now is not None and now <= wanted
    if met:
        reason = f"spread {now:.2%} within {wanted:.2%} after {len(values)} repeats"
    elif len(values) >= most:
        reason = f"not met: {most} repeats are the most"
    elif out_of_time and values:
        reason = f"not met: out of time after {len(values)} repeats"
    else:
        return None
    return StopRule(met=met, wanted_spread=wanted, spread=now, reason=reason)


def _coverage(count: int, rank: int) -> float:
    """Chance that the median lies between order statistics ``rank`` from below and from above (0 the extremes)."""
    tail = float(sum(math.comb(count, below) for below in range(rank + 1))) / 2.0**count
    return 1.0 - 2.0 * tail


def smallest_visible(relative_spread: float, repeats: int = 5) -> float:
    """Relative difference between two medians of ``repeats`` that noise of this spread alone exceeds one time in 20.

    The interquartile range of a normal distribution is 1.349 standard deviations, and the standard error of a median
    of several 1.253 times the mean's; 1.96 of the standard error of a difference.
    """
    deviation = 2.0 * relative_spread / 1.349
    of_median = 1.253 if repeats > 1 else 1.0
    return 1.96 * math.sqrt(2.0) * of_median * deviation / math.sqrt(repeats)
