"""Resolution against the number of particles: B-factor and ResLog.

Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721: the number of particles needed for a resolution ``d`` grows as
exp(B / (2 d^2)), so that ln N against 1 / d^2 is a line of slope B / 2.  Stagg et al., J. Struct. Biol. 185 (2014)
418: 1 / d against log10 N, whose slope and intercept tell how much each particle adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryorepro.em.errors import InputError


@dataclass(frozen=True)
class Point:
    """A subset of particles and the resolution its half maps reach (interpolated crossing, in Angstrom)."""

    particles: int
    angstrom: float
    shell: int


@dataclass(frozen=True)
class Series:
    """Lines through the points of a series.

    ``bfactor_angstrom2`` is infinite, and its error too, when resolution does not grow with particles at all.
    """

    points: tuple[Point, ...]
    bfactor_angstrom2: float
    bfactor_error_angstrom2: float
    reslog_slope_per_angstrom: float
    reslog_intercept_per_angstrom: float


def fit_series(points: Sequence[Point]) -> Series:
    """Fit both lines by least squares; the B-factor's error is the standard error of the slope.

    Raises:
        InputError: fewer than three subsets of different size, or one without a finite resolution.
    """
    if len({point.particles for point in points}) < 3:
        raise InputError(f"B-factor: {len(points)} subsets of particles; a line needs three of different size")
    for point in points:
        if point.particles < 1 or not 0.0 < point.angstrom < float("inf"):
            raise InputError(f"B-factor: {point.particles} particles reach {point.angstrom:g} A, which is no point")
    count = np.array([float(point.particles) for point in points])
    angstrom = np.array([point.angstrom for point in points])
    # The resolution carries the error, the number of particles does not: it is the abscissa.
    slope, error = _line(np.log(count), angstrom**-2)
    reslog = np.polyfit(np.log10(count), 1.0 / angstrom, 1)
    grows = slope * np.ptp(np.log(count)) > 1e-9 * float((angstrom**-2).mean())
    return Series(
        points=tuple(points),
        bfactor_angstrom2=2.0 / slope if grows else float("inf"),
        bfactor_error_angstrom2=2.0 * error / slope**2 if grows else float("inf"),
        reslog_slope_per_angstrom=float(reslog[0]),
        reslog_intercept_per_angstrom=float(reslog[1]),
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of the least-squares line and its standard error."""
    centred = x - x.mean()
    power = float((centred**2).sum())
    slope = float((centred * y).sum() / power)
    residual = y - y.mean() - slope * centred
    return slope, float(np.sqrt((residual**2).sum() / (len(x) - 2) / power))


def subset_sizes(whole: int, smallest: int, count: int) -> list[int]:
    """``count`` sizes from ``whole`` down to ``smallest``, each the same factor below the one before.

    Raises:
        InputError: there are not that many different sizes.
    """
    if count < 3 or not 2 <= smallest < whole:
        raise InputError(f"B-factor: {count} subsets from {smallest} to {whole} particles make no series")
    sizes = np.unique(np.rint(np.geomspace(smallest, whole, count)).astype(int))
    if len(sizes) < count:
        raise InputError(f"B-factor: {smallest} to {whole} particles leave only {len(sizes)} different subsets")
    return [int(size) for size in sizes]
