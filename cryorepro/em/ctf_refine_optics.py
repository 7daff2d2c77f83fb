"""The CTFs of particles as a refinement of them works with them: astigmatism as a vector, phases by |k|^2."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from cryorepro.em.conventions import electron_wavelength_angstrom
from cryorepro.em.ctf_refine_plane import Floats, Plane, Singles, Whole, turns
from cryorepro.em.formats.particles import Particles


@dataclass(frozen=True)
class Optics:
    """CTFs of n particles (formula and sign: conventions, "Contrast transfer").

    Attributes:
        defocus_angstrom: ``[n, 3]``: the mean of both defoci, and half their difference along cos 2a and sin 2a.
        voltage_kv, spherical_aberration_mm: ``[n]``.
        constant_rad: ``[n]``, phase that is the same at all frequencies: phase shift and amplitude contrast.
    """

    defocus_angstrom: Floats
    voltage_kv: Floats
    spherical_aberration_mm: Floats
    constant_rad: Floats

    @classmethod
    def of(cls, particles: Particles) -> Optics:
        """What a particle table states.

        Raises:
            InputError: a defocus column is missing.
        """
        u, v = particles.defocus_u_angstrom, particles.defocus_v_angstrom
        half, twice = 0.5 * (u - v), np.deg2rad(2.0 * particles.defocus_angle_degrees)
        constant = np.deg2rad(particles.phase_shift_degrees) + np.arcsin(particles.per_particle("amplitude_contrast"))
        return cls(
            np.stack([0.5 * (u + v), half * np.cos(twice), half * np.sin(twice)], axis=1),
            np.asarray(particles.per_particle("voltage_kv")),
            np.asarray(particles.per_particle("spherical_aberration_mm")),
            constant,
        )

    def select(self, index: Whole) -> Optics:
        """The CTFs of the particles at ``index``."""
        parts = (self.defocus_angstrom, self.voltage_kv, self.spherical_aberration_mm, self.constant_rad)
        return Optics(*(part[index] for part in parts))

    def changed(self, change_angstrom: Floats) -> Optics:
        """CTFs with ``change_angstrom`` (``[3]`` or ``[n, 3]``) added to mean defocus and both parts of astigmatism."""
        return replace(self, defocus_angstrom=self.defocus_angstrom + change_angstrom)

    def columns(self) -> tuple[Floats, Floats, Floats]:
        """Defocus along both axes in Angstrom and the angle of the first in degrees, ``[n]`` each."""
        mean, along, across = self.defocus_angstrom.T
        size = np.hypot(along, across)
        return mean + size, mean - size, np.rad2deg(0.5 * np.arctan2(across, along)) % 180.0

    @property
    def wavelength_angstrom(self) -> float:
        """Of the first particle: those of one optics group share it."""
        return electron_wavelength_angstrom(float(self.voltage_kv[0]))

    def turns_by_term(self, plane: Plane) -> tuple[Singles, Singles]:
        """Cosine and sine ``[t, n]`` of the CTF's phase but for its astigmatism, for particles of one optics group."""
        wavelength = self.wavelength_angstrom
        square = plane.square / float(plane.box_px * plane.pixel_size_angstrom) ** 2
        aberration = 0.5 * math.pi * float(self.spherical_aberration_mm[0]) * 1e7 * wavelength**3 * square**2
        phase = np.outer(math.pi * wavelength * square, self.defocus_angstrom[:, 0])
        return turns(phase - aberration[:, None] + self.constant_rad)

    def turns_of_astigmatism(self, plane: Plane) -> tuple[Singles, Singles]:
        """Cosine and sine of its phase: ``[pixels]`` where all particles have the same, else ``[pixels, n]``."""
        rates = plane.rates(self.wavelength_angstrom)[1:]
        parts = self.defocus_angstrom[:, 1:]
        same = bool((parts == parts[0]).all())
        return turns(parts[0] @ rates if same else rates.T @ parts.T)
