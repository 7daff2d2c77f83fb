"""Defocus of single particles and astigmatism of micrographs, by scanning the whole likelihood.

A change of defocus by d turns the CTF's phase by pi lambda |k|^2 d. With c^2 = (1 - cos 2 phase) / 2 the negative
log-likelihood of all d is a short Fourier series over the distinct values of |k|^2 (integers on the Fourier grid):

    f(d) = -Re sum_m U_m exp(2 i q_m d) / 4 - Im sum_m W_m exp(i q_m d),    q_m = pi lambda m / box^2.

U and W are summed once per particle; f on a fine grid of d is then one matrix product, exact, and its derivatives are
as cheap. A change of astigmatism adds phases in kx^2 - ky^2 and 2 kx ky, and separates in the same way. The model is
that of Zivanov, Nakane & Scheres, IUCrJ 7 (2020) 253, section 2.2; the search is not.

Series of single particles are summed in single precision, which moves a defocus by less than 0.01 A; phases, and what
is common to a micrograph, are worked out in double.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryorepro.em.ctf_refine_plane import Floats, Singles, Sums
from cryorepro.em.ctf_refine_slices import Complexes

# Scans step by so much of a radian of the fastest term at the finest resolution.
_STEP_RAD = 1.0
_NEWTON_STEPS = 6


@dataclass(frozen=True)
class Fit:
    """Changes ``[b]`` in Angstrom, and where (bool ``[b]``) the scan found no minimum inside its range."""

    change: Floats
    at_limit: npt.NDArray[np.bool_]


def scan_values(rate: Floats, limit: float) -> Floats:
    """Values from ``-limit`` to ``limit`` close enough for the fastest ``rate`` (rad per unit)."""
    step = _STEP_RAD / (2.0 * float(np.abs(rate).max()))
    count = max(2, math.ceil(limit / step))
    return np.linspace(-limit, limit, 2 * count + 1)


class Scan:
    """Values of a change and the turns ``[values, terms]`` it makes at each, for one or more phases."""

    def __init__(self, rates: Floats, limit: float) -> None:
        """Prepare for terms that turn by ``rates`` (``[terms]`` or ``[parts, terms]``) rad per unit."""
        rows = np.atleast_2d(rates)
        self.values = scan_values(rows[0], limit)
        self.waves: list[Complexes] = [unit(np.outer(self.values, rate)).astype(np.complex64) for rate in rows]


def fit_defocus(double: Complexes, single: Complexes, rates: Floats, scan: Scan) -> Fit:
    """Best change of defocus of every particle within the limits of ``scan``.

    Args:
        double: U, ``[t, b]``: s^2 |P|^2 / sigma2 times the doubled turn, summed over the pixels of each |k|^2.
        single: W, ``[t, b]``: s Re(X conj P) / sigma2 times the turn.
        rates: ``[t]`` rad per Angstrom.
        scan: over the same rates.
    """
    values, wave = scan.values, scan.waves[0]
    scores = -0.25 * (wave**2 @ double).real - (wave @ single).imag
    best = scores.argmin(axis=0)
    at_limit = (best == 0) | (best == len(values) - 1)
    change = start = values[best]
    step = float(values[1] - values[0])
    for _ in range(_NEWTON_STEPS):
        change = np.clip(change - _newton_step(double, single, rates, change), start - step, start + step)
    return Fit(np.where(at_limit, 0.0, change), at_limit)


def _newton_step(double: Complexes, single: Complexes, rates: Floats, change: Floats) -> Floats:
    """First over second derivative ``[b]`` of f; a step downhill where f is not convex."""
    phase = np.outer(rates, change).astype(np.float32)
    wave = np.empty(phase.shape, dtype=np.complex64)
    np.cos(phase, out=wave.real)
    np.sin(phase, out=wave.imag)
    first = single * wave
    wave *= wave
    wave *= double
    once: Singles = rates.astype(np.float32)
    slope = once @ (0.5 * wave.imag - first.real)
    curvature = once**2 @ (wave.real + first.imag)
    return np.asarray(slope / np.maximum(np.abs(curvature), 1e-30), dtype=np.float64)


def unit(phase: Floats) -> Sums:
    """exp(i phase)."""
    wave = np.empty(phase.shape, dtype=np.complex128)
    np.cos(phase, out=wave.real)
    np.sin(phase, out=wave.imag)
    return wave


def fit_astigmatism(double: Sums, single: Sums, rates: Floats, scan: Scan | None) -> Floats:
    """Changes ``[3]`` in Angstrom (mean defocus, cos 2a part, sin 2a part) that suit all particles together.

    Args:
        double: U, ``[n]``, summed over particles.
        single: W, ``[n]``.
        rates: ``[3, n]`` by `Plane.rates`.
        scan: over both astigmatic parts; None descends from no change.
    """
    start = np.zeros(3) if scan is None else _scanned(double, single, scan)
    return _descend(double, single, rates, start)


def _scanned(double: Sums, single: Sums, scan: Scan) -> Floats:
    """The best change on a grid of both astigmatic parts."""
    one, other = scan.waves
    scores = -0.25 * ((one**2 * double.astype(np.complex64)) @ (other**2).T).real
    scores -= ((one * single.astype(np.complex64)) @ other.T).imag
    first, second = divmod(int(scores.argmin()), len(scan.values))
    return np.array([0.0, scan.values[first], scan.values[second]])


def _descend(double: Sums, single: Sums, rates: Floats, change: Floats) -> Floats:
    """Newton's method in three parameters with Levenberg's damping."""
    damping, (score, second, first) = 1e-3, _turned(double, single, rates, change)
    for _ in range(5 * _NEWTON_STEPS):
        slope = rates @ (0.5 * second.imag - first.real)
        curvature = (rates * (second.real + first.imag)) @ rates.T
        diagonal = np.maximum(np.abs(curvature.diagonal()), 1e-300)
        trial = change - np.linalg.solve(curvature + np.diag(damping * diagonal), slope)
        reached = _turned(double, single, rates, trial)
        if reached[0] <= score:
            finished = float(np.abs(trial - change).max()) < 1e-3
            change, (score, second, first), damping = trial, reached, damping * 0.1
            if finished:
                break
        else:
            damping = max(damping, 1e-6) * 10.0
    return change


def _turned(double: Sums, single: Sums, rates: Floats, change: Floats) -> tuple[float, Sums, Sums]:
    """f, and U and W turned by a change."""
    wave = unit(change @ rates)
    second, first = double * wave**2, single * wave
    return float(-0.25 * second.real.sum() - first.imag.sum()), second, first
