"""Central slices of a volume: trilinear interpolation in its padded transform."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.conventions import PADDING
from cryorepro.em.fourier import HalfPlane, trilinear_attenuation, volume_to_grid

# Points interpolated at once: the working set stays in a core's cache.
_POINTS_PER_BLOCK = 1 << 16


@dataclass(frozen=True)
class Corners:
    """The grid cell of each point: index of its lowest corner, position inside it, and Friedel sign.

    Points at kx < 0 are served by their mate at -k, whose value is the conjugate (``sign`` -1).
    """

    index: Tensor
    x: Tensor
    y: Tensor
    z: Tensor
    sign: Tensor


def locate(points: Tensor, radius: int) -> Corners:
    """Cells of ``points [p, 3]`` (x, y, z in grid steps) in a half grid of half width ``radius``."""
    sign = torch.where(points[:, 0] < 0, -1.0, 1.0).to(points.dtype)
    x, y, z = (points * sign[:, None]).unbind(1)
    x0, y0, z0 = x.floor(), y.floor(), z.floor()
    side = 2 * radius + 1
    index = ((z0.long() + radius) * side + y0.long() + radius) * (radius + 1) + x0.long()
    return Corners(index, x - x0, y - y0, z - z0, sign)


def corner_offsets(radius: int) -> list[tuple[int, int, int, int]]:
    """(dz, dy, dx, offset into the flat half grid) of the eight corners."""
    side = 2 * radius + 1
    bits = (0, 1)
    return [(z, y, x, (z * side + y) * (radius + 1) + x) for z in bits for y in bits for x in bits]


def corner_weight(cell: Corners, dz: int, dy: int, dx: int) -> Tensor:
    """Trilinear weight ``[p]`` of one corner."""
    along_x = cell.x if dx else 1.0 - cell.x
    along_y = cell.y if dy else 1.0 - cell.y
    return along_x * along_y * (cell.z if dz else 1.0 - cell.z)


def slice_points(matrices: Tensor, plane: HalfPlane, padding: int = PADDING) -> Tensor:
    """Grid coordinates ``[r, n, 3]``, padding * A^T (kx, ky, 0), of central slices ``matrices [r, 3, 3]``."""
    pixels = torch.stack([plane.kx, plane.ky]).to(matrices) * padding
    return torch.einsum("rij,in->rnj", matrices[:, :2], pixels)


class Projector:
    """The transform of one reference, ready to be sliced.

    Slices are the transforms of projections ``sum_z V`` in the package's normalisation.
    """

    def __init__(self, volume: Tensor, max_radius: int, padding: int = PADDING) -> None:
        """Take ``volume [n, n, n]`` (float32 or float64) to its padded grid out to ``max_radius``."""
        box = volume.shape[-1]
        # slices interpolate the transform, which damps real space: undo that beforehand
        corrected = volume / trilinear_attenuation(box, padding, volume.dtype, volume.device)
        self.grid = volume_to_grid(corrected, max_radius, padding) * box
        self.max_radius = max_radius
        self.padding = padding

    def slices(self, matrices: Tensor, plane: HalfPlane) -> Tensor:
        """Complex ``[r, n]`` slices for orientations ``[r, 3, 3]`` on the pixels of ``plane``.

        Every pixel must lie within ``max_radius``.
        """
        rows = max(1, _POINTS_PER_BLOCK // len(plane))
        out = torch.empty(matrices.shape[0], len(plane), dtype=self.grid.dtype, device=self.grid.device)
        for start in range(0, matrices.shape[0], rows):
            block = matrices[start : start + rows].to(self.grid.real.dtype)
            points = slice_points(block, plane, self.padding).reshape(-1, 3)
            out[start : start + rows] = self._interpolate(points).reshape(-1, len(plane))
        return out

    def _interpolate(self, points: Tensor) -> Tensor:
        radius = self.grid.shape[-1] - 1
        cell = locate(points, radius)
        flat = self.grid.reshape(-1)
        value = torch.zeros(points.shape[0], dtype=flat.dtype, device=flat.device)
        for dz, dy, dx, offset in corner_offsets(radius):
            value += flat.take(cell.index + offset) * corner_weight(cell, dz, dy, dx)
        return torch.complex(value.real, value.imag * cell.sign)
