"""Speed-up, efficiency, and the serial fraction of Amdahl's and Gustafson's laws with its confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import f as f_distribution

from cryorepro.em.errors import InputError

Floats = NDArray[np.float64]
GRID = 2001


@dataclass(frozen=True)
class Point:
    """One run: devices, seconds, and the work it did (1 when all runs of a series do the same)."""

    devices: int
    seconds: float
    work: float = 1.0
    usd: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Fit:
    """A law fitted to a series. ``low`` and ``high`` are None when there are too few points for an interval."""

    law: Literal["amdahl", "gustafson"]
    serial_fraction: float
    low: float | None
    high: float | None
    one_device_seconds: float
    level: float

    def seconds(self, devices: float, work: float = 1.0) -> float:
        """Time on ``devices`` devices by the fitted law."""
        shape = _amdahl if self.law == "amdahl" else _gustafson
        return float(self.one_device_seconds * shape(self.serial_fraction, np.array([devices]), np.array([work]))[0])

    @property
    def most_speedup_per_cost(self) -> float:
        """Devices at which speed-up over cost is largest when cost is devices times time; infinite without serial part.

        By Amdahl's law that is (1 - s) / s: speed-up over cost goes as 1 / (n t^2) with t = s + (1 - s) / n, and
        n t^2 = (s n + 1 - s)^2 / n has its minimum there. At least one device.
        """
        return np.inf if self.serial_fraction == 0 else max((1 - self.serial_fraction) / self.serial_fraction, 1.0)


def speedups(points: Sequence[Point]) -> list[float]:
    """Work per second of each run over that of the mean run on the fewest devices (Amdahl 1967, for equal work)."""
    fewest = min(point.devices for point in points)
    base = float(np.mean([point.work / point.seconds for point in points if point.devices == fewest]))
    return [point.work / point.seconds / base for point in points]


def efficiencies(points: Sequence[Point]) -> list[float]:
    """Speed-up over the ratio of devices to the fewest in the series."""
    fewest = min(point.devices for point in points)
    return [gain * fewest / point.devices for gain, point in zip(speedups(points), points, strict=True)]


def experimental_serial_fraction(speedup: float, ratio: float) -> float | None:
    """Karp and Flatt 1990: (1/S - 1/n) / (1 - 1/n) for a speed-up S over n times the devices; None for n = 1."""
    return None if ratio <= 1 else (1 / speedup - 1 / ratio) / (1 - 1 / ratio)


def speedups_per_cost(points: Sequence[Point]) -> list[float]:
    """Speed-up over cost of each run, as Cianfrocco and Leschziner 2015 plot it.

    Cost is the runs' own, in USD, when every run has one, else devices times seconds.
    """
    priced = all(point.usd is not None for point in points)
    costs = [point.usd if priced and point.usd is not None else point.devices * point.seconds for point in points]
    return [gain / cost for gain, cost in zip(speedups(points), costs, strict=True)]


def best_speedup_per_cost(points: Sequence[Point]) -> Point:
    """The run with the most speed-up for its cost."""
    return points[int(np.argmax(speedups_per_cost(points)))]


def fit_amdahl(points: Sequence[Point], level: float = 0.95) -> Fit:
    """Amdahl 1967: t = T1 (s + (1 - s) / n) for a fixed amount of work.

    Raises:
        InputError: fewer than two numbers of devices, or the runs did different work.
    """
    if len({point.work for point in points}) > 1:
        raise InputError("Amdahl's law is about a fixed amount of work; these runs did different amounts")
    return _fit("amdahl", _amdahl, points, level)


def fit_gustafson(points: Sequence[Point], level: float = 0.95) -> Fit:
    """Gustafson 1988: speed-up s + (1 - s) n when the work grows with the devices; t = T1 w / (s + (1 - s) n).

    Raises:
        InputError: fewer than two numbers of devices, or the runs all did the same work.
    """
    if len({point.work for point in points}) < 2:
        raise InputError("Gustafson's law is about work that grows with the devices; these runs all did the same")
    return _fit("gustafson", _gustafson, points, level)


def _amdahl(serial: float, devices: Floats, work: Floats) -> Floats:
    return serial + (1 - serial) / devices + 0 * work


def _gustafson(serial: float, devices: Floats, work: Floats) -> Floats:
    return work / (serial + (1 - serial) * devices)


def _fit(
    law: Literal["amdahl", "gustafson"],
    shape: Callable[[float, Floats, Floats], Floats],
    points: Sequence[Point],
    level: float,
) -> Fit:
    """Least squares in log time, as times scatter by fractions; T1 is eliminated, the interval profiles s.

    The interval holds every s in [0, 1] whose sum of squares is at most 1 + F(1, N - 2) / (N - 2) times the least one
    (Bates and Watts 1988, Nonlinear Regression Analysis, chapter 6), so it is right at the ends 0 and 1 too.
    """
    if len({point.devices for point in points}) < 2:
        raise InputError("a fit needs runs on at least two different numbers of devices")
    devices, work = np.array([float(p.devices) for p in points]), np.array([p.work for p in points])
    logs = np.log([point.seconds for point in points])

    def residual(serial: float) -> float:
        off = logs - np.log(shape(serial, devices, work))
        return float(((off - off.mean()) ** 2).sum())

    serial = _least(residual)
    off = logs - np.log(shape(serial, devices, work))
    low, high = _interval(residual, serial, len(points), level) if len(points) > 2 else (None, None)
    return Fit(law, serial, low, high, float(np.exp(off.mean())), level)


# s = 0 and s = 1 are allowed, but Amdahl's fraction often is small: the grid is denser there.
_PLACES = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, GRID)])


def _least(residual: Callable[[float], float]) -> float:
    """The smallest residual on the grid, refined between its neighbours."""
    at = int(np.argmin([residual(float(place)) for place in _PLACES]))
    low, high = float(_PLACES[max(at - 1, 0)]), float(_PLACES[min(at + 1, len(_PLACES) - 1)])
    inside = minimize_scalar(residual, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    return min((float(inside.x), float(_PLACES[at])), key=residual)


def _interval(residual: Callable[[float], float], best: float, count: int, level: float) -> tuple[float, float]:
    free = count - 2
    allowed = residual(best) * (1 + float(f_distribution.ppf(level, 1, free)) / free) + 1e-15

    def excess(serial: float) -> float:
        return residual(serial) - allowed

    low = 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, best, xtol=1e-12))
    high = 1.0 if excess(1.0) <= 0 else float(brentq(excess, best, 1.0, xtol=1e-12))
    return low, high
