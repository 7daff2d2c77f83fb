"""Micrographs of pure noise seen through a known CTF, in numpy and by its own formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PIXEL, VOLTAGE, ABERRATION, CONTRAST = 1.5, 300.0, 2.7, 0.1
_WAVELENGTH = 0.0196874  # Angstrom at 300 kV, CODATA


def thon_rings(
    rng: np.random.Generator,
    u: float,
    v: float,
    angle_deg: float,
    *,
    size: int = 1024,
    phase_shift_deg: float = 0.0,
    noise: float = 1.0,
    along: Callable[[Floats, Floats], Floats] | None = None,
) -> Floats:
    """A micrograph ``[size, size]`` of white sample noise through a CTF with an envelope of 80 A^2, and detector noise.

    ``along(fx, fy)`` is a further attenuation in Fourier space.
    """
    fy: Floats = np.fft.fftfreq(size, PIXEL)[:, None].astype(np.float64)
    fx: Floats = np.fft.rfftfreq(size, PIXEL)[None].astype(np.float64)
    squared = fx**2 + fy**2
    # the quadratic form with eigenvalues u, v: no azimuths, unlike the package's own CTF
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    bent = u * (c * fx + s * fy) ** 2 + v * (-s * fx + c * fy) ** 2
    phase = np.pi * _WAVELENGTH * bent - 0.5 * np.pi * ABERRATION * 1e7 * _WAVELENGTH**3 * squared**2
    ctf = np.sin(phase + np.radians(phase_shift_deg) + np.arcsin(CONTRAST))
    sample = np.fft.rfft2(rng.standard_normal((size, size))) * ctf * np.exp(-80.0 * squared / 4.0)
    if along is not None:
        sample = sample * along(fx, fy)
    image = np.fft.irfft2(sample, s=(size, size)) + noise * rng.standard_normal((size, size))
    return np.asarray(100.0 + 10.0 * image)
