"""Vitreous ice between the particles: noise with a solvent's spectrum, seen through the optics, and dirt on it.

The ice is a weak phase object like the particles, so that its noise carries the Thon rings; each place of a tilted
specimen has its own defocus.  Dirt absorbs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cryorepro.em.movie_twin.layout import Dirt
from cryorepro.em.movie_twin.optics import Frequencies, Microscope, MovieDefocus, transfer

Floats = NDArray[np.float64]
_WATER_RING, _WATER_WIDTH = 1.0 / 3.7, 0.025
_LEVELS_EVERY_ANGSTROM = 120.0


@dataclass(frozen=True)
class IceSpectrum:
    """The spectrum of the ice's phase shifts.

    Attributes:
        phase_rms: Standard deviation of the phase shift of a pixel, rad.
        rise: Power towards low resolution, over the plateau.
        rise_angstrom: Resolution at which that has halved.
        ring: Power of water's ring at 3.7 A, over the plateau.
    """

    phase_rms: float
    rise: float = 6.0
    rise_angstrom: float = 60.0
    ring: float = 1.5

    def amplitude(self, at: Frequencies) -> Floats:
        """Filter on an ``rfft2`` of white noise of variance 1 that gives a spectrum of this shape."""
        radius = at.radius
        power = 1.0 + self.rise / (1.0 + (radius * self.rise_angstrom) ** 2)
        power = power + self.ring * np.exp(-0.5 * ((radius - _WATER_RING) / _WATER_WIDTH) ** 2)
        return np.asarray(self.phase_rms * np.sqrt(power / power.mean()))


def ice_contrast(
    stream: np.random.Generator,
    spectrum: IceSpectrum,
    defocus: MovieDefocus,
    microscope: Microscope,
    at: Frequencies,
) -> Floats:
    """Contrast of the ice alone, float64 [rows, columns]: -2 CTF times its phase shifts.

    Between a few values of the defocus along the plane the image is interpolated linearly.
    """
    shape = defocus.shape
    phases = fft.rfft2(stream.standard_normal(shape)) * spectrum.amplitude(at)
    reach = defocus.reach_angstrom
    levels = np.linspace(-reach, reach, max(2, math.ceil(2.0 * reach / _LEVELS_EVERY_ANGSTROM) + 1))
    y, x = np.indices(shape)
    offset = defocus.offset(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)).reshape(shape)
    spacing = max(float(levels[1] - levels[0]), 1e-6)
    out = np.zeros(shape)
    for level in levels:
        share = np.maximum(1.0 - np.abs(offset - level) / spacing, 0.0)
        seen = transfer(defocus, float(level), microscope, at)
        out += share * fft.irfft2(-2.0 * phases * seen, s=shape)
    return out


def dirt_contrast(stream: np.random.Generator, dirt: Dirt, shape: tuple[int, int], depth: float) -> Floats:
    """Contrast of dirt, float64 [rows, columns]: lumps that swallow up to about ``depth`` of the beam."""
    out = np.zeros(shape)
    y, x = np.indices(shape)
    for (cx, cy), radius in zip(dirt.centres_px, dirt.radii_px, strict=True):
        angle = np.arctan2(y - cy, x - cx)
        edge = np.full(shape, float(radius))
        for order in (2, 3, 5):
            size, turn = stream.uniform(0.03, 0.15), stream.uniform(0.0, 2.0 * np.pi)
            edge += radius * size * np.cos(order * angle + turn)
        level = np.clip((np.hypot(x - cx, y - cy) - edge) / 3.0, -40.0, 40.0)
        out -= depth * stream.uniform(0.5, 1.0) / (1.0 + np.exp(level))
    return np.asarray(np.maximum(out, -0.9))
