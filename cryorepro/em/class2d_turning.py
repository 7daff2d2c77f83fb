"""Rotation of 2D transforms on their padded grid, and its adjoint: one sparse matrix per in-plane angle.

All classes are turned by the same angles, so the cells and bilinear weights of an angle are worked out once, and
reading slices or spreading them is a product of a sparse matrix with one column per class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from cryorepro.em.fourier import HalfPlane, dft_matrix, grid_radius, half_plane
from cryorepro.em.rotations import euler_to_matrix

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Turned:
    """One in-plane angle: ``weights`` is a sparse ``[pixels, grid points]``, ``sign`` ``[pixels, 1]`` Friedel's."""

    weights: sparse.csr_array
    sign: Floats

    def read(self, real: Floats, imaginary: Floats) -> tuple[Floats, Floats]:
        """Slices ``[pixels, c]`` of the grids ``[grid points, c]`` of c classes."""
        return self.weights @ real, (self.weights @ imaginary) * self.sign

    def spread(self, real: Floats, imaginary: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
        """The adjoint: what slices ``[pixels, c]`` and their weights add to the grids ``[grid points, c]``."""
        back = self.weights.T
        return back @ real, back @ (imaginary * self.sign), back @ weight


def grid_shape(max_radius: int, padding: int) -> tuple[int, int]:
    """Rows (ky) and columns (kx >= 0) of the padded half grid that serves slices out to ``max_radius``."""
    radius = grid_radius(max_radius, padding)
    return 2 * radius + 1, radius + 1


def plane_with_origin(box_px: int, max_radius: int) -> HalfPlane:
    """The half plane out to ``max_radius`` with the origin as its first pixel.

    No score uses the origin, but class averages have one: without their mean they would not vanish around the particle,
    and the step at the border of the box leaks into every shell of their spectra.
    """
    rest = half_plane(box_px, max_radius)
    zero = torch.zeros(1, dtype=torch.int64)
    parts = (torch.cat([zero, values]) for values in (rest.kx, rest.ky, rest.shell, rest.columns))
    return HalfPlane(box_px, *parts)


def turn(plane: HalfPlane, psi_deg: float, max_radius: int, padding: int) -> Turned:
    """Bilinear cells on the padded grid of the pixels of ``plane``, turned by ``psi_deg``."""
    matrix = euler_to_matrix(torch.tensor([0.0, 0.0, psi_deg], dtype=torch.float64))[:2, :2]
    pixels = torch.stack([plane.kx, plane.ky]).double() * padding
    x, y = (matrix.T @ pixels).numpy()
    sign = np.where(x < 0, -1.0, 1.0)
    x, y = x * sign, y * sign
    rows, columns = grid_shape(max_radius, padding)
    x0, y0 = np.floor(x), np.floor(y)
    dx, dy = x - x0, y - y0
    corner = (y0.astype(np.int32) + rows // 2) * columns + x0.astype(np.int32)
    index = np.stack([corner, corner + 1, corner + columns, corner + columns + 1], axis=1)
    share = np.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx], axis=1)
    starts = np.arange(len(x) + 1, dtype=np.int32) * 4
    weights = sparse.csr_array(
        (share.astype(np.float32).ravel(), index.ravel().astype(np.int32), starts), shape=(len(x), rows * columns)
    )
    return Turned(weights, sign.astype(np.float32)[:, None])


def images_to_grids(images: Tensor, max_radius: int, padding: int) -> Tensor:
    """Transforms ``[k, rows, columns]`` complex64 of ``images [k, n, n]`` on the padded half grid, divided by n^2.

    Interpolation on the grid damps real space; that is undone beforehand.
    """
    box = images.shape[-1]
    radius = grid_radius(max_radius, padding)
    full = dft_matrix(box, radius, padding, torch.float32, images.device)
    corrected = (images.double() / _attenuation(box, padding)).to(torch.complex64)
    along_x: Tensor = corrected @ full[radius:].T
    return (full @ along_x) / float(box * box)


def grids_to_images(grids: Tensor, box_px: int, padding: int) -> Tensor:
    """Real images ``[k, n, n]`` float32 of grids ``[k, rows, columns]`` complex64 that are Hermitian at kx = 0."""
    radius = grids.shape[-1] - 1
    full = dft_matrix(box_px, radius, padding, torch.float32, grids.device).conj()
    half = full[radius:].clone()
    half[1:] *= 2.0  # the mates at kx < 0
    along_y = full.T @ grids
    real = along_y.real @ half.real - along_y.imag @ half.imag
    corrected: Tensor = (real.double() / padding**2 / _attenuation(box_px, padding)).float()
    return corrected


def _attenuation(box_px: int, padding: int) -> Tensor:
    """``[n, n]`` factor by which bilinear interpolation damps real space: sinc^2 on each axis."""
    x = torch.arange(box_px, dtype=torch.float64) - box_px // 2
    damping = torch.sinc(x / (padding * box_px)) ** 2
    return damping[:, None] * damping[None]
