"""Two ways of doing the same work, taken in turns, and the ratio of their times with its interval."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from cryorepro.workflow.bench.noise import median_interval


def in_turns(first: Callable[[], float], second: Callable[[], float], pairs: int) -> dict[str, Any]:
    """Seconds of both, ``pairs`` times in turns, the order swapped each time.

    The ratio is taken pair by pair, so that what slows the machine for a while slows both; minima are given too,
    since what others do only adds time.
    """
    times: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            other = second()
            times.append((first(), other))
        else:
            one = first()
            times.append((one, second()))
    return ratios(times)


def ratios(times: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Ratio of the first to the second of each pair, with its interval."""
    found = [one / other for one, other in times]
    interval = median_interval(found)
    assert interval is not None
    return {
        "pairs": len(times),
        "median_seconds": [statistics.median(side) for side in zip(*times, strict=True)],
        "fastest_seconds": [min(side) for side in zip(*times, strict=True)],
        "ratio_of_medians_by_pair": statistics.median(found),
        "ratio_interval": [interval.low, interval.high, interval.level],
        "ratio_of_fastest": min(one for one, _ in times) / min(other for _, other in times),
    }
