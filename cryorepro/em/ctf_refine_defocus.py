"""Defocus of single particles and astigmatism of micrographs, by scanning the whole likelihood.

A change of defocus by d turns the CTF's phase by pi lambda |k|^2 d. With c^2 = (1 - cos 2 phase) / 2 the negative
log-likelihood of all d is a short Fourier series over the distinct values of |k|^2 (integers on the Fourier grid):

    f(d) = -Re sum_m U_m exp(2 i q_m d) / 4 - Im sum_m W_m exp(i q_m d),    q_m = pi lambda m / box^2.

U and W are summed once per particle; f on a fine grid of d is then one matrix product, exact, and its derivatives are
as cheap. A change of astigmatism adds phases in kx^2 - ky^2 and 2 kx ky, and separates in the same way. The model is
that of Zivanov, Nakane & Scheres, IUCrJ 7 (2020) 253, section 2.2; the search is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.fourier import HalfPlane

# Scans step by so much of a radian of the fastest term at the finest resolution.
_STEP_RAD = 1.0
_NEWTON_STEPS = 6


@dataclass(frozen=True)
class Fit:
    """Changes ``[b]`` in Angstrom, and where (bool ``[b]``) the scan found no minimum inside its range."""

    change: Tensor
    at_limit: Tensor


def phase_per_angstrom(plane: HalfPlane, wavelength_angstrom: float, pixel_size_angstrom: float) -> Tensor:
    """``[3, n]`` rad per Angstrom: of the mean defocus, and of its astigmatic parts along cos 2a and sin 2a."""
    scale = math.pi * wavelength_angstrom / (plane.box_px * pixel_size_angstrom) ** 2
    kx, ky = plane.kx.double(), plane.ky.double()
    return scale * torch.stack([kx**2 + ky**2, kx**2 - ky**2, 2.0 * kx * ky])


def scan_values(rate: Tensor, limit: float) -> Tensor:
    """Values from ``-limit`` to ``limit`` close enough for the fastest ``rate`` (rad per unit)."""
    step = _STEP_RAD / (2.0 * float(rate.abs().max()))
    count = max(2, math.ceil(limit / step))
    return torch.linspace(-limit, limit, 2 * count + 1, dtype=torch.float64)


def fit_defocus(power: Tensor, cross: Tensor, phase: Tensor, rate: Tensor, squared: Tensor, limit: float) -> Fit:
    """Best change of defocus of every particle within ``limit`` Angstrom.

    Args:
        power: ``[b, n]`` s^2 |P|^2 / sigma2.
        cross: ``[b, n]`` s Re(X conj P) / sigma2.
        phase: ``[b, n]`` CTF phases now.
        rate: ``[n]`` rad per Angstrom.
        squared: ``[n]`` int64, |k|^2 of the pixels.
        limit: largest change.
    """
    (
        _,
        place,
    ) = torch.unique(squared, return_inverse=True)
    terms = int(place.max()) + 1
    rates = torch.zeros(terms, dtype=torch.float64).index_copy_(0, place, rate)
    turned = torch.polar(torch.ones_like(phase), phase)
    shape = (phase.shape[0], terms)
    double = torch.zeros(shape, dtype=torch.complex128).index_add_(1, place, power * turned.square())
    single = torch.zeros(shape, dtype=torch.complex128).index_add_(1, place, cross * turned)
    values = scan_values(rates, limit)
    waves = torch.polar(torch.ones(terms, len(values), dtype=torch.float64), torch.outer(rates, values))
    scores = -0.25 * (double @ waves.square()).real - (single @ waves).imag
    best = scores.argmin(dim=1)
    at_limit = (best == 0) | (best == len(values) - 1)
    change = values[best]
    step = float(values[1] - values[0])
    start = change.clone()
    for _ in range(_NEWTON_STEPS):
        change = change - _newton_step(double, single, rates, change)
        change = torch.minimum(torch.maximum(change, start - step), start + step)
    return Fit(torch.where(at_limit, 0.0, change), at_limit)


def _newton_step(double: Tensor, single: Tensor, rates: Tensor, change: Tensor) -> Tensor:
    """First over second derivative ``[b]`` of f; a step downhill where f is not convex."""
    wave = torch.polar(torch.ones_like(double.real), torch.outer(change, rates))
    second_harmonic, first_harmonic = double * wave.square(), single * wave
    slope = 0.5 * (second_harmonic.imag @ rates) - first_harmonic.real @ rates
    curvature = second_harmonic.real @ rates**2 + first_harmonic.imag @ rates**2
    return slope / curvature.abs().clamp(min=1e-300)


def harmonics(power: Tensor, cross: Tensor, phase: Tensor) -> Tensor:
    """``[2, n]`` complex128: the sums over particles that a fit common to all of them needs.

    Arguments as in `fit_defocus`; sums of several groups of particles add.
    """
    turned = torch.polar(torch.ones_like(phase), phase)
    return torch.stack([(power * turned.square()).sum(dim=0), (cross * turned).sum(dim=0)])


def fit_astigmatism(sums: Tensor, rates: Tensor, limit: float | None) -> Tensor:
    """Changes ``[3]`` in Angstrom (mean defocus, cos 2a part, sin 2a part) that suit all particles together.

    Args:
        sums: ``[2, n]`` by `harmonics`.
        rates: ``[3, n]`` by `phase_per_angstrom`.
        limit: largest change of either astigmatic part in a scan; None descends from no change.
    """
    start = torch.zeros(3, dtype=torch.float64) if limit is None else _scanned(sums, rates, limit)
    return _descend(sums[0], sums[1], rates, start)


def _scanned(sums: Tensor, rates: Tensor, limit: float) -> Tensor:
    """The best change on a grid of both astigmatic parts."""
    double, single = sums
    values = scan_values(rates[0], limit)
    waves = [torch.polar(torch.ones(len(values), rates.shape[1], dtype=torch.float64), torch.outer(values, rate))
             for rate in rates[1:]]  # fmt: skip
    scores = -0.25 * ((waves[0].square() * double) @ waves[1].square().T).real
    scores -= ((waves[0] * single) @ waves[1].T).imag
    first, second = divmod(int(scores.argmin()), len(values))
    return torch.tensor([0.0, float(values[first]), float(values[second])], dtype=torch.float64)


def _descend(double: Tensor, single: Tensor, rates: Tensor, change: Tensor) -> Tensor:
    """Newton's method in three parameters with Levenberg's damping."""
    damping, score = 1e-3, _score(double, single, rates, change)
    for _ in range(5 * _NEWTON_STEPS):
        wave = torch.polar(torch.ones_like(rates[0]), change @ rates)
        second_harmonic, first_harmonic = double * wave.square(), single * wave
        slope = rates @ (0.5 * second_harmonic.imag - first_harmonic.real)
        curvature = (rates * (second_harmonic.real + first_harmonic.imag)) @ rates.T
        diagonal = curvature.diagonal().abs().clamp(min=1e-300)
        trial = change - torch.linalg.solve(curvature + torch.diag(damping * diagonal), slope)
        reached = _score(double, single, rates, trial)
        if reached <= score:
            finished = float((trial - change).abs().max()) < 1e-3
            change, score, damping = trial, reached, damping * 0.1
            if finished:
                break
        else:
            damping = max(damping, 1e-6) * 10.0
    return change


def _score(double: Tensor, single: Tensor, rates: Tensor, change: Tensor) -> float:
    wave = torch.polar(torch.ones_like(rates[0]), change @ rates)
    return float(-0.25 * (double * wave.square()).real.sum() - (single * wave).imag.sum())
