"""Defocus and astigmatism from a log power spectrum: an exhaustive search by sectors, then a fit of every pixel.

A spectrum is modelled as ``background(frequency) + amplitude * exp(-B s^2 / 2) * CTF(s)^2``. The background is linear
in its coefficients, so it is projected out of data and model alike; what is left is compared by its correlation
(the score of Mindell & Grigorieff, J. Struct. Biol. 142 (2003) 334, without their choice of a background first).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.conventions import electron_wavelength_angstrom
from cryorepro.em.ctf_estimation_spectrum import FourierPixels

SECTORS = 12
_SEARCH_ENVELOPE_ANGSTROM2 = 50.0
_RADIAL_TERMS, _DIRECTIONAL_TERMS = 7, 3
_CANDIDATES = 3
_APART_ANGSTROM = 1500.0


@dataclass(frozen=True)
class Optics:
    """The microscope: voltage in kV, spherical aberration in mm, amplitude contrast as a fraction."""

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float

    @property
    def wavelength_angstrom(self) -> float:
        """Electron wavelength."""
        return electron_wavelength_angstrom(self.voltage_kv)

    @property
    def aberration_factor(self) -> float:
        """``pi/2 Cs lambda^3`` in Angstrom^4: what the fourth power of a frequency is multiplied with."""
        return 0.5 * math.pi * self.spherical_aberration_mm * 1e7 * self.wavelength_angstrom**3

    def phase(self, squared: Tensor, defocus_angstrom: Tensor, phase_shift_rad: Tensor | float = 0.0) -> Tensor:
        """What the CTF is the sine of (conventions, "Contrast transfer"); ``squared`` in 1/Angstrom^2."""
        bending = math.pi * self.wavelength_angstrom * defocus_angstrom * squared
        return bending - self.aberration_factor * squared**2 + phase_shift_rad + math.asin(self.amplitude_contrast)


@dataclass(frozen=True)
class SearchRange:
    """What is searched: defocus in Angstrom, |U - V| up to ``most_astigmatism_angstrom``.

    ``expected_astigmatism_angstrom`` is a weak restraint on |U - V|; None for none.
    """

    lowest_defocus_angstrom: float = 5000.0
    highest_defocus_angstrom: float = 50000.0
    most_astigmatism_angstrom: float = 4000.0
    expected_astigmatism_angstrom: float | None = None
    phase_shift: bool = False


@dataclass(frozen=True)
class Defocus:
    """A fitted defocus: U >= V, the angle of U from x towards y in [0, 180), phase shift in [0, 180).

    ``correlation`` is between spectrum and model, backgrounds removed.
    """

    defocus_u_angstrom: float
    defocus_v_angstrom: float
    angle_deg: float
    phase_shift_deg: float
    envelope_angstrom2: float
    correlation: float

    @property
    def mean_angstrom(self) -> float:
        """Mean of U and V."""
        return 0.5 * (self.defocus_u_angstrom + self.defocus_v_angstrom)

    def along(self, azimuth: Tensor) -> Tensor:
        """Defocus in Angstrom at each azimuth in rad."""
        half = 0.5 * (self.defocus_u_angstrom - self.defocus_v_angstrom)
        return self.mean_angstrom + half * torch.cos(2.0 * (azimuth - math.radians(self.angle_deg)))


@dataclass(frozen=True)
class _Vector:
    """Mean defocus, (U - V)/2 as cosine and sine of twice its angle, phase shift in rad, envelope B."""

    mean: float
    cosine: float
    sine: float
    shift: float
    envelope: float = _SEARCH_ENVELOPE_ANGSTROM2


def background_basis(pixels: FourierPixels) -> Tensor:
    """Orthonormal smooth functions ``[n, terms]``: Chebyshev in frequency, a few of them varying with direction."""
    radial = _chebyshev(pixels.frequency, _RADIAL_TERMS)
    turns = torch.stack([torch.cos(2.0 * pixels.azimuth), torch.sin(2.0 * pixels.azimuth)], dim=1)
    varying = (radial[:, :_DIRECTIONAL_TERMS, None] * turns[:, None]).flatten(1)
    orthonormal: Tensor = torch.linalg.qr(torch.cat([radial, varying], dim=1))[0]
    return orthonormal


def _chebyshev(frequency: Tensor, terms: int) -> Tensor:
    low, high = frequency.min(), frequency.max()
    at = torch.acos(((2.0 * frequency - low - high) / (high - low)).clamp(-1.0, 1.0))
    return torch.cos(at[:, None] * torch.arange(terms, dtype=torch.float64, device=frequency.device))


def without_background(values: Tensor, basis: Tensor) -> Tensor:
    """``values`` ``[..., n]`` less their part in the span of ``basis`` ``[n, terms]``."""
    return values - (values @ basis) @ basis.T


def fit_defocus(log_power: Tensor, pixels: FourierPixels, optics: Optics, searched: SearchRange) -> Defocus:
    """The best defocus of a spectrum ``[n]`` at ``pixels``: the best of the search's first candidates, refined.

    The search compares few numbers, on the CPU; every pixel is looked at on the spectrum's device.
    """
    starts = _search(log_power, pixels, optics, searched)
    basis = background_basis(pixels)
    data = without_background(log_power, basis)
    found = [refine_defocus(data, basis, pixels, optics, searched, start) for start in starts]
    return max(found, key=lambda one: one.correlation)


def _search(log_power: Tensor, pixels: FourierPixels, optics: Optics, searched: SearchRange) -> list[Defocus]:
    """Candidates at least ``_APART_ANGSTROM`` apart, from every defocus, astigmatism and phase shift on a grid."""
    profile, weights, frequency = sector_profiles(log_power, pixels)
    basis = torch.linalg.qr(_chebyshev(frequency, _RADIAL_TERMS) * weights.sqrt()[:, None])[0]
    data = without_background(profile * weights.sqrt(), basis)
    squared = frequency**2
    # the model's own period is pi in phase: a fifth of it at the highest frequency
    step = min(100.0, 0.2 / (optics.wavelength_angstrom * float(squared.max())))
    reach = 0.5 * searched.most_astigmatism_angstrom
    lowest = max(searched.lowest_defocus_angstrom - reach, 0.0)
    defoci = torch.arange(lowest, searched.highest_defocus_angstrom + reach + step, step, dtype=torch.float64)
    envelope = torch.exp(-0.5 * _SEARCH_ENVELOPE_ANGSTROM2 * squared) * weights.sqrt()
    best: list[tuple[float, _Vector]] = []
    for shift in torch.arange(0.0, math.pi if searched.phase_shift else 1e-9, math.pi / 18).tolist():
        model = envelope * torch.sin(optics.phase(squared, defoci[:, None], shift)) ** 2
        model = without_background(model, basis)
        products = data @ model.T / data.norm()
        best += _combined(products, (model**2).sum(dim=1), defoci, searched, shift)
    return [_as_defocus(vector, score) for score, vector in _apart(best)]


def sector_profiles(log_power: Tensor, pixels: FourierPixels) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of ``log_power`` in sectors and shells ``[SECTORS, shells]``, weights and frequencies ``[shells]``.

    Added up on the CPU, in one order: a GPU would add in any.
    """
    shell = pixels.shell - int(pixels.shell.min())
    shells = int(shell.max()) + 1
    turn = torch.remainder(pixels.azimuth, math.pi) / math.pi * SECTORS
    sector = turn.long().clamp(max=SECTORS - 1)
    counts = torch.zeros(SECTORS * shells, dtype=torch.float64)
    sums, index, values = counts.clone(), (sector * shells + shell).cpu(), log_power.cpu()
    counts.index_add_(0, index, torch.ones_like(values))
    sums.index_add_(0, index, values)
    counts, sums = counts.view(SECTORS, shells), sums.view(SECTORS, shells)
    everywhere = sums.sum(dim=0) / counts.sum(dim=0).clamp(min=1.0)
    profile = torch.where(counts > 0, sums / counts.clamp(min=1.0), everywhere)
    frequency = (torch.arange(shells, dtype=torch.float64) + int(pixels.shell.min())) / (
        pixels.tile_px * pixels.pixel_size_angstrom
    )
    return profile, counts.mean(dim=0), frequency


def _combined(
    products: Tensor, energies: Tensor, defoci: Tensor, searched: SearchRange, shift: float
) -> list[tuple[float, _Vector]]:
    """Scores of whole spectra from those of the sectors, each of which has its own defocus."""
    step = float(defoci[1] - defoci[0])
    azimuth = (torch.arange(SECTORS, dtype=torch.float64) + 0.5) * math.pi / SECTORS
    inside = (defoci >= searched.lowest_defocus_angstrom) & (defoci <= searched.highest_defocus_angstrom)
    halves = torch.linspace(0.0, 0.5 * searched.most_astigmatism_angstrom, 21, dtype=torch.float64).tolist()
    rows, found = torch.arange(SECTORS)[:, None], []
    for half in halves:
        for angle in azimuth.tolist() if half else [0.0]:
            at = torch.arange(len(defoci)) + half / step * torch.cos(2.0 * (azimuth - angle))[:, None]
            at = at.clamp(0.0, len(defoci) - 1.001)
            low, part = at.long(), at - at.floor()
            score = ((1 - part) * products[rows, low] + part * products[rows, low + 1]).sum(dim=0)
            energy = ((1 - part) * energies[low] + part * energies[low + 1]).sum(dim=0)
            score = torch.where(inside, score / energy.sqrt().clamp(min=1e-12), -torch.inf)
            for value, where in zip(*(t.tolist() for t in score.topk(min(8, len(score)))), strict=True):
                cosine, sine = half * math.cos(2 * angle), half * math.sin(2 * angle)
                found.append((value, _Vector(float(defoci[where]), cosine, sine, shift)))
    return found


def _apart(found: list[tuple[float, _Vector]]) -> list[tuple[float, _Vector]]:
    kept: list[tuple[float, _Vector]] = []
    for score, vector in sorted(found, key=lambda pair: -pair[0]):
        if all(abs(vector.mean - other.mean) > _APART_ANGSTROM for _, other in kept):
            kept.append((score, vector))
        if len(kept) == _CANDIDATES:
            break
    return kept


def refine_defocus(
    data: Tensor, basis: Tensor, pixels: FourierPixels, optics: Optics, searched: SearchRange, start: Defocus
) -> Defocus:
    """Climb to the nearest maximum of the correlation over every pixel; ``data`` ``[n]`` is without background.

    The five numbers that are fitted stay on the CPU, whose steps they take; scores come from the device of ``data``.
    """
    vector, target = _as_vector(start), data / data.norm()
    scale = torch.tensor([1000.0, 1000.0, 1000.0, 1.0, 100.0], dtype=torch.float64)
    free = torch.tensor([True, True, True, searched.phase_shift, True])
    first = torch.tensor([vector.mean, vector.cosine, vector.sine, vector.shift, vector.envelope]) / scale
    moved = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    squared = pixels.frequency**2
    turns = (torch.cos(2.0 * pixels.azimuth), torch.sin(2.0 * pixels.azimuth))
    expected, count = searched.expected_astigmatism_angstrom, float(len(data))

    def values() -> Tensor:
        at = (first + torch.where(free, moved, 0.0)) * scale
        # a spectrum without rings leads anywhere; at a limit it stays there and is told by it
        return torch.cat([at[:1].clamp(searched.lowest_defocus_angstrom, searched.highest_defocus_angstrom), at[1:]])

    def score() -> tuple[Tensor, Tensor]:
        mean, cosine, sine, shift, envelope = values().to(data.device)
        defocus = mean + cosine * turns[0] + sine * turns[1]
        model = (
            torch.exp(-0.5 * envelope.clamp(min=0.0) * squared) * torch.sin(optics.phase(squared, defocus, shift)) ** 2
        )
        model = without_background(model, basis)
        correlation = (model @ target) / model.norm()
        if expected is None:
            return correlation, correlation
        return correlation, correlation - 2.0 * (cosine**2 + sine**2) / (expected**2 * count)

    optimiser = torch.optim.LBFGS([moved], max_iter=60, line_search_fn="strong_wolfe", tolerance_change=1e-8)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -score()[1]
        torch.autograd.backward(loss)
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found, correlation = values(), float(score()[0])
    if not math.isfinite(correlation):  # the climb left what can be computed: nothing of this spectrum is a ring
        return replace(start, correlation=0.0)
    return _as_defocus(_Vector(*found.tolist()), correlation)


def _as_vector(defocus: Defocus) -> _Vector:
    half = 0.5 * (defocus.defocus_u_angstrom - defocus.defocus_v_angstrom)
    twice = math.radians(2.0 * defocus.angle_deg)
    shift = math.radians(defocus.phase_shift_deg)
    return _Vector(
        defocus.mean_angstrom, half * math.cos(twice), half * math.sin(twice), shift, defocus.envelope_angstrom2
    )


def _as_defocus(vector: _Vector, correlation: float) -> Defocus:
    half = math.hypot(vector.cosine, vector.sine)
    angle = math.degrees(0.5 * math.atan2(vector.sine, vector.cosine)) % 180.0
    shift = math.degrees(vector.shift) % 180.0
    return Defocus(vector.mean + half, vector.mean - half, angle, shift, vector.envelope, correlation)
