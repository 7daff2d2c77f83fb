"""Rotation of 2D transforms on their padded grid, and its adjoint: weighted sums of rows, one column per class.

All classes are turned by the same angles, so the cells and bilinear weights of an angle are worked out once. Reading
sums four grid points for each pixel; spreading sums the pixels of each grid point, in one order on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from cryorepro.em.fourier import HalfPlane, dft_matrix, grid_radius, half_plane
from cryorepro.em.rotations import euler_to_matrix


@dataclass(frozen=True)
class Turned:
    """One in-plane angle.

    Attributes:
        corners: ``[n, 4]`` int32 grid points around each pixel, with their bilinear ``shares`` ``[n, 4]`` float32.
        sign: ``[n, 1]`` float32, -1 where the Friedel mate is read.
        pixels: ``[4 n]`` int32 pixels by the grid point they touch, with their ``weights``; those of point c start at
            ``starts[c]``.
    """

    corners: Tensor
    shares: Tensor
    sign: Tensor
    pixels: Tensor
    weights: Tensor
    starts: Tensor

    def read(self, grids: Tensor) -> Tensor:
        """Slices ``[n, 2 c]`` of the grids ``[grid points, 2 c]`` of c classes: real parts, then imaginary ones."""
        slices = embedding_bag(self.corners, grids, mode="sum", per_sample_weights=self.shares)
        slices[:, slices.shape[1] // 2 :] *= self.sign
        return slices

    def spread(self, slices: Tensor) -> Tensor:
        """The adjoint, with weights: what ``slices [n, 3 c]`` add to grids ``[grid points, 3 c]``.

        Columns are real parts, imaginary parts and weights.
        """
        third = slices.shape[1] // 3
        signed = slices.clone()
        signed[:, third : 2 * third] *= self.sign
        return embedding_bag(self.pixels, signed, self.starts, mode="sum", per_sample_weights=self.weights)


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
    """Bilinear cells on the padded grid of the pixels of ``plane``, turned by ``psi_deg``; on the plane's device."""
    matrix = euler_to_matrix(torch.tensor([0.0, 0.0, psi_deg], dtype=torch.float64))[:2, :2]
    pixels = torch.stack([plane.kx, plane.ky]).double() * padding
    x, y = (matrix.T.to(pixels.device) @ pixels).unbind()
    sign = torch.where(x < 0, -1.0, 1.0)
    x, y = x * sign, y * sign
    rows, columns = grid_shape(max_radius, padding)
    x0, y0 = torch.floor(x), torch.floor(y)
    dx, dy = x - x0, y - y0
    corner = (y0.int() + rows // 2) * columns + x0.int()
    corners = torch.stack([corner, corner + 1, corner + columns, corner + columns + 1], dim=1)
    shares = torch.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx], dim=1).float()
    point, order = torch.sort(corners.flatten(), stable=True)
    points = torch.arange(rows * columns, dtype=torch.int32, device=point.device)
    return Turned(
        corners=corners,
        shares=shares,
        sign=sign.float()[:, None],
        pixels=torch.div(order, 4, rounding_mode="floor").int(),
        weights=shares.flatten()[order],
        starts=torch.searchsorted(point, points, out_int32=True),
    )


def images_to_grids(images: Tensor, max_radius: int, padding: int) -> Tensor:
    """Transforms ``[k, rows, columns]`` complex64 of ``images [k, n, n]`` on the padded half grid, divided by n^2.

    Interpolation on the grid damps real space; that is undone beforehand.
    """
    box = images.shape[-1]
    radius = grid_radius(max_radius, padding)
    full = dft_matrix(box, radius, padding, torch.float32, images.device)
    corrected = (images.double() / _attenuation(box, padding, images.device)).to(torch.complex64)
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
    corrected: Tensor = (real.double() / padding**2 / _attenuation(box_px, padding, grids.device)).float()
    return corrected


def _attenuation(box_px: int, padding: int, device: torch.device) -> Tensor:
    """``[n, n]`` factor by which bilinear interpolation damps real space: sinc^2 on each axis."""
    x = torch.arange(box_px, dtype=torch.float64, device=device) - box_px // 2
    damping = torch.sinc(x / (padding * box_px)) ** 2
    return damping[:, None] * damping[None]
