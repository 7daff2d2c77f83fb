"""How long a run will take, from its first iterations, knowing that later ones see more of Fourier space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as t_distribution

from cryorepro.em.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """Seconds for the whole run.

    Attributes:
        seconds: by the shells that are planned; None when nobody says how the resolution will grow.
        low, high: its prediction interval; None with fewer than four iterations.
        at_least, at_most: the rest at the last shell seen, and the rest at Nyquist.
        naive: the mean of the iterations seen times their number, which ignores that resolution grows.
        seconds_fixed, seconds_per_square_shell: the fit, seconds = fixed + per square * shell^2.
    """

    seconds: float | None
    low: float | None
    high: float | None
    at_least: float
    at_most: float
    naive: float
    seconds_fixed: float
    seconds_per_square_shell: float


def forecast(
    seconds: Sequence[float],
    shells: Sequence[int],
    total_iterations: int,
    box_px: int,
    planned_shells: Sequence[int] | None = None,
    level: float = 0.95,
) -> Forecast:
    """Time of ``total_iterations`` from the first ones and the resolution shell each of them used.

    An iteration compares images with projections over the Fourier pixels within its shell, pi r^2 of them, and besides
    does things that do not depend on it (reading, the inverse transforms of whole boxes): seconds = a + b r^2 with a, b
    not negative. ``planned_shells`` are those of the iterations to come, from a published or an earlier run.

    Raises:
        InputError: lengths disagree, a shell lies beyond Nyquist, or a time is not above zero.
    """
    rest = total_iterations - len(seconds)
    _check(seconds, shells, rest, box_px, planned_shells)
    times, radii = np.array(seconds, dtype=float), np.array(shells, dtype=float)
    fixed, slope = _fit(times, radii)
    done, last, nyquist = float(times.sum()), float(radii[-1]), box_px / 2

    def at(shell: float) -> float:
        return fixed + slope * shell**2

    central = low = high = None
    if planned_shells is not None:
        planned = np.array(planned_shells, dtype=float)
        central = done + float((fixed + slope * planned**2).sum())
        if len(times) > 3 and rest:
            spread = _spread(times, radii, planned, fixed, slope, level)
            low, high = max(done, central - spread), central + spread
    naive = float(times.mean()) * total_iterations
    return Forecast(central, low, high, done + rest * at(last), done + rest * at(nyquist), naive, fixed, slope)


def _fit(times: Floats, radii: Floats) -> tuple[float, float]:
    """Least squares with neither coefficient below zero."""
    if len(set(radii.tolist())) < 2:
        # Iterations at one shell cannot tell the parts apart: all of it is taken to grow, so that the bound is safe.
        return 0.0, float(times.mean() / radii[0] ** 2)
    slope, fixed = np.polyfit(radii**2, times, 1)
    if slope < 0:
        return float(times.mean()), 0.0
    if fixed < 0:
        return 0.0, float((times * radii**2).sum() / (radii**4).sum())
    return float(fixed), float(slope)


def _spread(times: Floats, radii: Floats, planned: Floats, fixed: float, slope: float, level: float) -> float:
    """Half width of the prediction interval of the sum of the planned iterations (linear regression)."""
    design = np.stack([np.ones_like(radii), radii**2], axis=1)
    row = np.array([len(planned), (planned**2).sum()])
    free = len(times) - 2
    variance = float(((times - fixed - slope * radii**2) ** 2).sum()) / free
    inverse = np.linalg.pinv(design.T @ design)
    return float(t_distribution.ppf((1 + level) / 2, free) * np.sqrt(variance * (row @ inverse @ row + len(planned))))


def _check(
    seconds: Sequence[float], shells: Sequence[int], rest: int, box_px: int, planned: Sequence[int] | None
) -> None:
    if not seconds or len(seconds) != len(shells):
        raise InputError(f"{len(seconds)} times and {len(shells)} shells; each iteration needs both")
    if rest < 0:
        raise InputError(f"{len(seconds)} iterations are given, more than the whole run has")
    if planned is not None and len(planned) != rest:
        raise InputError(f"{len(planned)} planned shells for {rest} iterations to come")
    if min(seconds) <= 0:
        raise InputError("an iteration of no time")
    for shell in [*shells, *(planned or [])]:
        if not 1 <= shell <= box_px / 2:
            raise InputError(f"shell {shell} does not exist in a box of {box_px} px (1 to {box_px // 2})")
