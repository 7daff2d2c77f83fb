"""Antisymmetric aberrations: the phase a tilted beam adds to an image, and images with that phase taken away.

With the beam tilted by b (in rad) off the coma-free axis the image's transform carries the axial coma

    phi(k) = 2 pi Cs lambda^2 |k|^2 (k . b),    X(k) = CTF(k) V(k) exp(-i phi(k))

(Glaeser et al., J. Struct. Biol. 174 (2011) 1, for the size; Zivanov et al., eLife 7 (2018) e42166, for its
place in RELION). The sign is that of rlnBeamTiltX and rlnBeamTiltY under this package's transform, found with
``relion_reconstruct`` and ``relion_ctf_refine``, which the tests hold it against.
The phase is odd in k: the image stays real, and correcting it once when it is read is all that is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import signed_frequencies
from cryorepro.em.conventions import electron_wavelength_angstrom
from cryorepro.em.formats.optics import OpticsGroup
from cryorepro.em.formats.particles import Particles
from cryorepro.em.imageset import ImageSource, Indices

Floats = NDArray[np.float64]


def coma_phase_per_mrad(
    kx: Floats, ky: Floats, voltage_kv: float, spherical_aberration_mm: float
) -> tuple[Floats, Floats]:
    """Phase phi in rad of a beam tilt of 1 mrad along x, and along y, at frequencies ``kx``, ``ky`` (1/Angstrom)."""
    wavelength = electron_wavelength_angstrom(voltage_kv)
    strength = 2.0 * math.pi * spherical_aberration_mm * 1e7 * wavelength**2 * 1e-3 * (kx**2 + ky**2)
    return strength * kx, strength * ky


def tilt_correction(group: OpticsGroup, box_px: int) -> NDArray[np.complex64]:
    """Factor ``[box, box // 2 + 1]`` on an ``rfft2`` that takes a group's beam tilt away; 1 on both Nyquist lines."""
    pixel = group.pixel_size_angstrom
    kx, ky = signed_frequencies(box_px, pixel)
    along_x, along_y = coma_phase_per_mrad(kx, ky, group.voltage_kv, group.spherical_aberration_mm)
    phase = group.beam_tilt_x_mrad * along_x + group.beam_tilt_y_mrad * along_y
    # an odd phase has no value at a frequency that is its own opposite
    phase[box_px // 2] = 0.0
    phase[:, box_px // 2] = 0.0
    factor: NDArray[np.complex64] = np.exp(1j * phase).astype(np.complex64)
    return factor


@dataclass(frozen=True)
class TiltCorrectedSource:
    """Images of another source with the beam tilt of their optics groups taken away.

    Attributes:
        source: where the pixels come from.
        group: int64 ``[n]``, position of each image's factor.
        factors: ``[g, box, box // 2 + 1]`` by `tilt_correction`.
    """

    source: ImageSource
    group: NDArray[np.int64]
    factors: NDArray[np.complex64]

    def read(self, indices: Indices) -> NDArray[np.float32]:
        """Corrected images float32 ``[len(indices), box, box]``."""
        images = self.source.read(indices)
        transform = np.fft.rfft2(images) * self.factors[self.group[np.asarray(indices, dtype=np.int64)]]
        return np.fft.irfft2(transform, s=images.shape[1:]).astype(np.float32)


def without_beam_tilt(source: ImageSource, particles: Particles, box_px: int) -> ImageSource:
    """The source itself if no optics group has a beam tilt, else one that corrects it."""
    if not any(group.beam_tilt_x_mrad or group.beam_tilt_y_mrad for group in particles.optics):
        return source
    factors = np.stack([tilt_correction(group, box_px) for group in particles.optics])
    return TiltCorrectedSource(source, particles.optics_index, factors)
