"""Antisymmetric aberrations: the phase a tilted beam and trefoil add to an image, and images without that phase.

With the beam tilted by b (in rad) off the coma-free axis the image's transform carries the axial coma

    phi(k) = 2 pi Cs lambda^2 |k|^2 (k . b),    X(k) = CTF(k) V(k) exp(-i phi(k))

(Glaeser et al., J. Struct. Biol. 174 (2011) 1, for the size; Zivanov et al., eLife 7 (2018) e42166, for its
place in RELION). The sign is that of rlnBeamTiltX and rlnBeamTiltY under this package's transform, found with
``relion_reconstruct`` and ``relion_ctf_refine``, which the tests hold it against.
rlnOddZernike adds ``+ sum_i c_i Z_i(k)`` to the image's phase, k in 1/Angstrom, Z in the order (1, -1), (1, 1),
(3, -3), (3, -1), (3, 1), (3, 3); the two of order (3, +-3) are the trefoil. Order and sign were found by giving
``relion_ctf_refine`` images with a known trefoil. Higher orders are refused.
The phase is odd in k: the image stays real, and correcting it once when it is read is all that is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import signed_frequencies
from cryorepro.em.conventions import electron_wavelength_angstrom
from cryorepro.em.formats.optics import OpticsGroup, odd_zernike
from cryorepro.em.formats.particles import Particles

if TYPE_CHECKING:  # that module imports torch
    from cryorepro.em.imageset import ImageSource, Indices

Floats = NDArray[np.float64]


def coma_phase_per_mrad(
    kx: Floats, ky: Floats, voltage_kv: float, spherical_aberration_mm: float
) -> tuple[Floats, Floats]:
    """Phase phi in rad of a beam tilt of 1 mrad along x, and along y, at frequencies ``kx``, ``ky`` (1/Angstrom)."""
    wavelength = electron_wavelength_angstrom(voltage_kv)
    strength = 2.0 * math.pi * spherical_aberration_mm * 1e7 * wavelength**2 * 1e-3 * (kx**2 + ky**2)
    return strength * kx, strength * ky


def trefoil_phase(kx: Floats, ky: Floats) -> tuple[Floats, Floats]:
    """|k|^3 cos 3a and |k|^3 sin 3a at azimuth a of ``kx``, ``ky`` (1/Angstrom)."""
    return kx**3 - 3.0 * kx * ky**2, 3.0 * kx**2 * ky - ky**3


def odd_zernike_phase(kx: Floats, ky: Floats, coefficients: Sequence[float]) -> Floats:
    """Phase in rad that up to six coefficients of rlnOddZernike add at ``kx``, ``ky`` (1/Angstrom)."""
    cosine, sine = trefoil_phase(kx, ky)
    radial = 3.0 * (kx**2 + ky**2) - 2.0
    terms = (ky + 0.0 * kx, kx + 0.0 * ky, sine, radial * ky, radial * kx, cosine)
    total: Floats = sum((c * term for c, term in zip(coefficients, terms, strict=False)), start=np.zeros_like(cosine))
    return total


def tilt_correction(group: OpticsGroup, box_px: int) -> NDArray[np.complex64]:
    """Factor ``[box, box // 2 + 1]`` on an ``rfft2`` that takes a group's tilt and odd aberrations away.

    It is 1 on both Nyquist lines.
    """
    kx, ky = signed_frequencies(box_px, group.pixel_size_angstrom)
    along_x, along_y = coma_phase_per_mrad(kx, ky, group.voltage_kv, group.spherical_aberration_mm)
    phase = group.beam_tilt_x_mrad * along_x + group.beam_tilt_y_mrad * along_y
    phase = phase - odd_zernike_phase(kx, ky, odd_zernike(group))
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
    """The source itself if no optics group has a beam tilt or odd aberrations, else one that corrects them."""
    if not any(g.beam_tilt_x_mrad or g.beam_tilt_y_mrad or any(odd_zernike(g)) for g in particles.optics):
        return source
    factors = np.stack([tilt_correction(group, box_px) for group in particles.optics])
    return TiltCorrectedSource(source, particles.optics_index, factors)
