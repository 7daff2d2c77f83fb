"""Sums of one micrograph's particles from which the likelihood of any change of their CTFs follows.

With turns e^(i phase) the overlap enters as W = sum cross e^(i phase) and the power as U = sum power e^(2 i phase).
The phase is that of the mean defocus, which is the same for all pixels of a term (|k|^2), plus that of astigmatism.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cryorepro.em.ctf_refine_data import Observed, ShellSums
from cryorepro.em.ctf_refine_optics import Optics
from cryorepro.em.ctf_refine_plane import Floats, Plane, Singles, Sums
from cryorepro.em.ctf_refine_slices import Complexes

Pair = tuple[Singles, Singles]


@dataclass(frozen=True)
class TermSums:
    """``single`` (W) and ``double`` (U), complex64 ``[t, b]``, over the pixels of each term; ``power [t, b]``."""

    single: Complexes
    double: Complexes
    power: Singles

    @classmethod
    def of(cls, seen: Observed, optics: Optics, plane: Plane) -> TermSums:
        """The sums at these CTFs."""
        astigmatic, base = optics.turns_of_astigmatism(plane), optics.turns_by_term(plane)
        single = _complex([plane.over_pixels(seen.real, part) for part in astigmatic])
        double = _complex([plane.over_pixels(seen.power, part) for part in doubled(astigmatic)])
        single *= _complex(base)
        double *= _complex(doubled(base))
        return cls(single, double, plane.over_pixels(seen.power, np.ones(len(plane), dtype=np.float32)))

    def weighted(self, power_factor: Floats, cross_factor: Floats) -> tuple[Complexes, Complexes]:
        """U and W times the factors ``[t]`` that turn them into a likelihood."""
        factors = (factor.astype(np.float32)[:, None] for factor in (power_factor, cross_factor))
        return self.double * next(factors), self.single * next(factors)

    def by_shell(self, seen: Observed, plane: Plane) -> ShellSums:
        """What signal scale and noise follow from; c^2 = (1 - cos 2 phase) / 2."""
        shells = len(seen.shell_power)

        def over_shells(values: Floats) -> Floats:
            return np.asarray(np.bincount(plane.term_shell, weights=values, minlength=shells), dtype=np.float64)

        cross = self.single.imag.sum(axis=1, dtype=np.float64)
        power = 0.5 * (self.power - self.double.real).sum(axis=1, dtype=np.float64)
        pixels = over_shells(plane.term_pixels.astype(np.float64)) * self.power.shape[1]
        return ShellSums(over_shells(cross), over_shells(power), seen.shell_power, pixels)


def pixel_sums(seen: Observed, optics: Optics, plane: Plane) -> tuple[Sums, Sums]:
    """U and W, complex128 ``[n]``, over particles: what a fit common to all of them needs."""
    astigmatic, base = optics.turns_of_astigmatism(plane), optics.turns_by_term(plane)
    double = _over_particles(plane, seen.power, doubled(astigmatic), doubled(base))
    return double, _over_particles(plane, seen.real, astigmatic, base)


def common_overlap(seen: Observed, optics: Optics, plane: Plane) -> Sums:
    """``[n]`` complex128: sum over particles of c X conj P."""
    astigmatic, base = optics.turns_of_astigmatism(plane), optics.turns_by_term(plane)
    parts = [_over_particles(plane, part, astigmatic, base).imag for part in (seen.real, seen.imaginary)]
    return np.asarray(parts[0] + 1j * parts[1])


def _over_particles(plane: Plane, values: Singles, astigmatic: Pair, base: Pair) -> Sums:
    """Sum of ``values [n, b]`` times both turns: ``[n]`` complex128."""
    if astigmatic[0].ndim == 1:
        summed = plane.over_particles(values, base[0]) + 1j * plane.over_particles(values, base[1])
        return np.asarray(summed * (astigmatic[0] + 1j * astigmatic[1].astype(np.float64)))
    along, across = (values * part for part in astigmatic)
    real = plane.over_particles(along, base[0]) - plane.over_particles(across, base[1])
    return np.asarray(real + 1j * (plane.over_particles(along, base[1]) + plane.over_particles(across, base[0])))


def doubled(turn: Pair) -> Pair:
    """Cosine and sine of twice the angle."""
    cosine, sine = turn
    return cosine**2 - sine**2, 2.0 * sine * cosine


def _complex(parts: Pair | list[Singles]) -> Complexes:
    out = np.empty(parts[0].shape, dtype=np.complex64)
    out.real, out.imag = parts
    return out
