"""How far a CTF fit can be believed: fit resolution, ice ring, how evenly rings stand around, and named faults."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.ctf_estimation_search import SECTORS, Defocus, Optics, background_basis, without_background
from cryorepro.em.ctf_estimation_spectrum import FourierPixels

_AGREEMENT = 0.5
_SMALLEST_HALF_WINDOW = 7
_RINGS_IN_HALF_WINDOW = 0.75
_ICE = (3.82, 3.55)  # Angstrom, around the strongest reflections of hexagonal and cubic ice (3.67 A)
_BELOW_ICE, _ABOVE_ICE = (4.25, 3.95), (3.45, 3.28)


@dataclass(frozen=True)
class FaultLimits:
    """Where a micrograph counts as unusable; every limit has the name of its fault."""

    no_rings_beyond_angstrom: float = 12.0
    no_rings_correlation: float = 0.08
    drift_anisotropy: float = 0.9
    ice_ring_log_power: float = 0.5


@dataclass(frozen=True)
class Quality:
    """Indicators of one micrograph.

    Attributes:
        resolution_angstrom: Rings agree with the fit up to here; infinite if they nowhere do.
        ice_ring_log_power: Logarithm of the power at 3.67 A over that beside it; NaN beyond Nyquist.
        anisotropy: 0 if rings agree equally well in all directions, 1 if in one they do not at all.
    """

    resolution_angstrom: float
    ice_ring_log_power: float
    anisotropy: float


def assess(log_power: Tensor, pixels: FourierPixels, optics: Optics, fit: Defocus, fitted_to: float) -> Quality:
    """Indicators of a spectrum ``[n]`` at all measured ``pixels``; ``fitted_to`` (1/Angstrom) bounds the fit's own."""
    low, kept = pixels.below(fitted_to)
    return Quality(
        resolution_angstrom=fit_resolution(log_power, pixels, optics, fit),
        ice_ring_log_power=ice_ring(log_power, pixels),
        anisotropy=ring_anisotropy(log_power[kept], low, optics, fit),
    )


def faults(quality: Quality, fit: Defocus, lowest: float, highest: float, limits: FaultLimits) -> list[str]:
    """Names of what makes a micrograph unusable, in a fixed order; empty for a good one."""
    without = (
        quality.resolution_angstrom > limits.no_rings_beyond_angstrom or fit.correlation < limits.no_rings_correlation
    )
    named = {
        "no-rings": without,
        "defocus-at-limit": not lowest + 50.0 < fit.mean_angstrom < highest - 50.0,
        "drift": quality.anisotropy > limits.drift_anisotropy,
        "ice": quality.ice_ring_log_power > limits.ice_ring_log_power,
    }
    return [name for name, found in named.items() if found]


def fit_resolution(log_power: Tensor, pixels: FourierPixels, optics: Optics, fit: Defocus) -> float:
    """Resolution in Angstrom at which rings stop agreeing with the fit; infinite if they never do.

    The spectrum is averaged along lines of equal phase (Zhang, J. Struct. Biol. 193 (2016) 1), so that astigmatism
    does not wash rings out, and correlated with the model in a window of one and a half rings, both without their
    linear trend. The resolution is where that first falls below 0.5 for good (a whole half window).
    """
    profile, frequency = equiphase_profile(log_power, pixels, optics, fit)
    if (
        len(frequency) < 2 * _SMALLEST_HALF_WINDOW
    ):  # no frequency has the mean defocus's phases: not a CTF of this range
        return math.inf
    mean = torch.full_like(frequency, fit.mean_angstrom)
    model = torch.sin(optics.phase(frequency**2, mean, math.radians(fit.phase_shift_deg))) ** 2
    agreement = torch.stack([
        _windowed(profile, model, at, _half_window(float(frequency[at]), frequency, optics, fit))
        for at in range(len(frequency))
    ])  # fmt: skip
    good = agreement >= _AGREEMENT
    if not good.any():
        return math.inf
    last = int(good.nonzero()[0, 0])
    for at in range(last, len(frequency)):
        if good[at]:
            last = at
        elif at - last > _half_window(float(frequency[at]), frequency, optics, fit):
            break
    return 1.0 / float(frequency[last])


def equiphase_profile(log_power: Tensor, pixels: FourierPixels, optics: Optics, fit: Defocus) -> tuple[Tensor, Tensor]:
    """Mean of ``log_power`` by the frequency at which the mean defocus has the same phase, and those; on the CPU."""
    squared = pixels.frequency**2
    bending, aberration = math.pi * optics.wavelength_angstrom, optics.aberration_factor
    phase = bending * fit.along(pixels.azimuth) * squared - aberration * squared**2
    slope = bending * fit.mean_angstrom
    # the root of slope q - aberration q^2 = phase that goes to 0 with it, without cancellation
    under = (slope**2 - 4.0 * aberration * phase).clamp(min=0.0)
    equal = 2.0 * phase / (slope + under.sqrt())
    scale = pixels.tile_px * pixels.pixel_size_angstrom
    shell = torch.round(equal.clamp(min=0.0).sqrt() * scale).long()
    first, last = int(pixels.shell.min()) + 1, int(pixels.shell.max())
    shell = shell.clamp(first - 1, last)
    shell = shell.cpu()  # added up on the CPU, in one order
    counts = torch.bincount(shell, minlength=last + 1)[first:last]
    sums = torch.bincount(shell, weights=log_power.cpu(), minlength=last + 1)[first:last]
    frequency = torch.arange(first, last, dtype=torch.float64) / scale
    filled = counts > 0
    return (sums / counts.clamp(min=1))[filled], frequency[filled]


def _half_window(at: float, frequency: Tensor, optics: Optics, fit: Defocus) -> int:
    """Shells in 0.75 rings at a frequency, at least seven; a ring is pi in phase."""
    slope = 2.0 * math.pi * optics.wavelength_angstrom * fit.mean_angstrom * at - 4.0 * optics.aberration_factor * at**3
    ring = math.pi / max(abs(slope), 1e-9) / float(frequency[1] - frequency[0])
    return max(_SMALLEST_HALF_WINDOW, min(round(_RINGS_IN_HALF_WINDOW * ring), len(frequency)))


def _windowed(profile: Tensor, model: Tensor, at: int, half: int) -> Tensor:
    part = slice(max(0, at - half), at + half + 1)
    both = torch.stack([profile[part], model[part]])
    line = torch.linspace(-1.0, 1.0, both.shape[1], dtype=torch.float64)
    both = both - both.mean(dim=1, keepdim=True)
    both = both - (both @ line / (line @ line))[:, None] * line
    norms = both.norm(dim=1)
    agreement: Tensor = (both[0] @ both[1]) / (norms[0] * norms[1]).clamp(min=1e-12)
    return agreement


def ring_anisotropy(log_power: Tensor, pixels: FourierPixels, optics: Optics, fit: Defocus) -> float:
    """How unevenly rings agree with the fit: 1 less the weakest direction's covariance over the strongest's.

    Drift and charging blur rings along one direction only. Directions are 45 degrees wide, every 15 degrees.
    """
    basis = background_basis(pixels)
    data = without_background(log_power, basis)
    phase = optics.phase(pixels.frequency**2, fit.along(pixels.azimuth), math.radians(fit.phase_shift_deg))
    envelope = torch.exp(-0.5 * max(fit.envelope_angstrom2, 0.0) * pixels.frequency**2)
    model = without_background(envelope * torch.sin(phase) ** 2, basis)
    turn = torch.remainder(pixels.azimuth, math.pi) / math.pi * SECTORS
    sector = turn.long().clamp(max=SECTORS - 1).cpu()
    together = torch.bincount(sector, weights=(data * model).cpu(), minlength=SECTORS)
    alone = torch.bincount(sector, weights=(model**2).cpu(), minlength=SECTORS)
    slopes = _three_together(together) / _three_together(alone).clamp(min=1e-12)
    strongest = float(slopes.max())
    return 1.0 if strongest <= 0 else min(1.0, max(0.0, 1.0 - float(slopes.min()) / strongest))


def _three_together(values: Tensor) -> Tensor:
    return values + values.roll(1) + values.roll(-1)


def ice_ring(log_power: Tensor, pixels: FourierPixels) -> float:
    """Log power at 3.67 A less that of a line between the bands on either side; NaN if they lie beyond the pixels."""
    if float(pixels.frequency.max()) < 1.0 / _ABOVE_ICE[1]:
        return math.nan

    def band(limits: tuple[float, float]) -> tuple[float, float]:
        chosen = (pixels.frequency >= 1.0 / limits[0]) & (pixels.frequency <= 1.0 / limits[1])
        return float(pixels.frequency[chosen].mean()), float(log_power[chosen].mean())

    (low, below), (at, peak), (high, above) = band(_BELOW_ICE), band(_ICE), band(_ABOVE_ICE)
    return peak - (below + (above - below) * (at - low) / (high - low))
