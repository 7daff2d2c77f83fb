"""A particle as a sum of Gaussian blobs, whose maps and projections are known in closed form.

A blob of mass M, centre c and width s has the Fourier transform
``M exp(-2 pi^2 s^2 |k|^2) exp(-2 pi i k.c)``, k in 1/Angstrom. It is sampled on the box's own Fourier grid
below Nyquist, so a projection obeys the central-slice theorem exactly: no interpolation enters, unlike in any
program that is to be tested with it. The product form over axes makes each transform one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True)
class BlobModel:
    """m Gaussian blobs.

    Attributes:
        centres_angstrom: float64 [m, 3], (x, y, z) from the particle's origin.
        sigmas_angstrom: float64 [m].
        masses: float64 [m]; the voxel sum of a map is their total.
    """

    centres_angstrom: Floats
    sigmas_angstrom: Floats
    masses: Floats

    def project(self, rotations: Floats, box_px: int, pixel_size_angstrom: float) -> Complexes:
        """Transforms of the projections along z after each rotation.

        Args:
            rotations: float64 [n, 3, 3], taking reference to image coordinates (conventions, "Rotations").
            box_px: Even box size.
            pixel_size_angstrom: Pixel size.

        Returns:
            complex128 [n, box, box // 2 + 1], the unnormalised `rfft2` of the images, whose origin is pixel
            ``box // 2``; both Nyquist lines are zero, so that any shift of the image is exact.
        """
        positions = np.einsum("nij,mj->nmi", rotations[:, :2], self.centres_angstrom)
        damping = self._damping(box_px, pixel_size_angstrom)
        along_x = _phases(positions[..., 0], box_px, pixel_size_angstrom)
        along_y = _phases(positions[..., 1], box_px, pixel_size_angstrom)
        along_x *= damping * self.masses[:, None]
        along_y *= damping
        images = _outer_sums(along_y, along_x)
        images *= centre_shift(box_px)
        return images

    def volume(self, box_px: int, pixel_size_angstrom: float, low_pass_angstrom: float | None = None) -> Floats:
        """The map, float64 [z, y, x]; its sum along z is exactly the projection at the identity.

        `low_pass_angstrom` multiplies the transform by a raised cosine, two shells wide, around it.
        """
        damping = self._damping(box_px, pixel_size_angstrom)
        x, y, z = (_phases(self.centres_angstrom[:, i], box_px, pixel_size_angstrom) * damping for i in range(3))
        x *= self.masses[:, None]
        half = np.concatenate([_outer_sums(y, x * z[:, k : k + 1]) for k in range(box_px // 2 + 1)])
        mirrored = np.concatenate([_outer_sums(y, x * np.conj(z[:, k : k + 1])) for k in range(box_px // 2)])
        transform = np.concatenate([half, mirrored[:0:-1]])
        transform *= centre_shift(box_px) * _half_box_phase(box_px)[:, None, None]
        if low_pass_angstrom is not None:
            transform *= _low_pass(box_px, pixel_size_angstrom, low_pass_angstrom)
        volume: Floats = np.fft.irfftn(transform, s=(box_px,) * 3, axes=(0, 1, 2))
        return volume

    def _damping(self, box_px: int, pixel_size_angstrom: float) -> Floats:
        """Gaussian factor of each blob along one axis, [m, box // 2 + 1]; zero at Nyquist."""
        frequency = np.arange(box_px // 2 + 1) / (box_px * pixel_size_angstrom)
        factor = np.exp(-2.0 * np.pi**2 * np.square(np.outer(self.sigmas_angstrom, frequency)))
        factor[:, -1] = 0.0
        return factor


def euler_matrices(angles_degrees: Floats) -> Floats:
    """Rotation matrices A = Rz(psi) Ry(tilt) Rz(rot), float64 [n, 3, 3], of angles (rot, tilt, psi) [n, 3].

    Heymann, Chagoyen & Belnap, J. Struct. Biol. 151 (2005) 196, doi:10.1016/j.jsb.2005.06.001, section 3.
    """
    rot, tilt, psi = np.deg2rad(angles_degrees).T
    return _about_z(psi) @ _about_y(tilt) @ _about_z(rot)


def signed_frequencies(box_px: int, pixel_size_angstrom: float) -> tuple[Floats, Floats]:
    """Frequencies in 1/Angstrom of an `rfft2` of the box: kx [1, box // 2 + 1] and ky [box, 1]."""
    kx: Floats = np.fft.rfftfreq(box_px, pixel_size_angstrom).astype(np.float64)
    ky: Floats = np.fft.fftfreq(box_px, pixel_size_angstrom).astype(np.float64)
    return kx[None, :], ky[:, None]


def centre_shift(box_px: int) -> Floats:
    """Factor [box, box // 2 + 1] that moves an `rfft2`'s origin from pixel 0 to pixel box // 2 (even box)."""
    return _half_box_phase(box_px)[:, None] * _half_box_phase(box_px)[None, : box_px // 2 + 1]


def _half_box_phase(box_px: int) -> Floats:
    return np.where(np.arange(box_px) % 2 == 0, 1.0, -1.0)


def _phases(positions: Floats, box_px: int, pixel_size_angstrom: float) -> Complexes:
    """exp(-2 pi i k x) for k = 0 .. box // 2 on a new last axis, by repeated multiplication."""
    step = np.exp(-2j * np.pi * positions / (box_px * pixel_size_angstrom))
    powers = np.repeat(step[..., None], box_px // 2 + 1, axis=-1)
    powers[..., 0] = 1.0
    return np.cumprod(powers, axis=-1)


def _outer_sums(along_y: Complexes, along_x: Complexes) -> Complexes:
    """Sum over m of ``y[m, ky] x[m, kx]`` for every signed ky, [n, box, h], from [..., m, h = box // 2 + 1].

    For real blobs ``y[m, -ky]`` is the conjugate, so four real products give both signs. einsum adds in a
    fixed order on one thread; a threaded BLAS may not, and gains nothing on matrices of this size.
    """
    rows = np.concatenate([along_y.real, along_y.imag], axis=-1).reshape(-1, *_doubled(along_y))
    columns = np.concatenate([along_x.real, along_x.imag], axis=-1).reshape(-1, *_doubled(along_x))
    products = np.einsum("nim,nmj->nij", np.ascontiguousarray(rows.transpose(0, 2, 1)), columns)
    h = along_x.shape[-1]
    rr, ri, ir, ii = (products[:, a : a + h, b : b + h] for a in (0, h) for b in (0, h))
    positive = (rr - ii) + 1j * (ri + ir)
    negative = (rr + ii) + 1j * (ri - ir)
    return np.concatenate([positive, negative[:, -2:0:-1]], axis=1)


def _doubled(half: Complexes) -> tuple[int, int]:
    return half.shape[-2], 2 * half.shape[-1]


def _low_pass(box_px: int, pixel_size_angstrom: float, resolution_angstrom: float) -> Floats:
    kx, ky = signed_frequencies(box_px, pixel_size_angstrom)
    radius = np.sqrt(kx[None] ** 2 + ky[None] ** 2 + ky[:, :, None] ** 2) * box_px * pixel_size_angstrom
    shell = box_px * pixel_size_angstrom / resolution_angstrom
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((radius - shell + 1.0) / 2.0, 0.0, 1.0))


def _about_z(angle: Floats) -> Floats:
    c, s, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([c, s, zero, -s, c, zero, zero, zero, one], axis=-1).reshape(-1, 3, 3)


def _about_y(angle: Floats) -> Floats:
    c, s, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([c, zero, -s, zero, one, zero, s, zero, c], axis=-1).reshape(-1, 3, 3)
