"""Central slices of a volume: trilinear interpolation in its padded transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.conventions import PADDING
from cryorepro.em.fourier import HalfPlane, trilinear_attenuation, volume_to_grid

# Points interpolated at once: the working set stays in a core's cache; a GPU wants many.
_POINTS_PER_BLOCK = 1 << 16
_POINTS_PER_BLOCK_ON_GPU = 1 << 22


def points_per_block(device: torch.device) -> int:
    """Points that are looked up or spread at once on a device."""
    return _POINTS_PER_BLOCK if device.type == "cpu" else _POINTS_PER_BLOCK_ON_GPU


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


def locate_slices(matrices: Tensor, plane: HalfPlane, padding: int, radius: int) -> Corners:
    """`locate` for every pixel of central slices ``matrices [r, 3, 3]``, slice after slice."""
    pixels = torch.stack([plane.kx, plane.ky]).to(matrices) * padding
    # a product of three rows or fewer is rounded by another kernel: a slice's bits must not depend on its neighbours
    several = matrices if matrices.shape[0] > 1 else matrices.expand(2, -1, -1)
    # coordinate by coordinate: everything that follows then runs over contiguous numbers
    x, y, z = (several[:, :2].permute(2, 0, 1).reshape(-1, 2) @ pixels).reshape(3, -1)
    if matrices.shape[0] == 1:
        x, y, z = (values[: pixels.shape[1]].clone() for values in (x, y, z))
    sign = torch.copysign(torch.ones((), dtype=x.dtype, device=x.device), x)
    x, y, z = x.abs_(), y.mul_(sign), z.mul_(sign)
    x0, y0, z0 = x.floor(), y.floor(), z.floor()
    side = 2 * radius + 1
    whole = torch.int32 if 2 * side**3 < 2**31 else torch.int64
    index = z0.to(whole).add_(radius).mul_(side).add_(y0.to(whole)).add_(radius).mul_(radius + 1).add_(x0.to(whole))
    return Corners(index, x.sub_(x0), y.sub_(y0), z.sub_(z0), sign)


def weights_across_x(cell: Corners) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bilinear weights ``[p]`` of the corners (z, y) = (0, 0), (0, 1), (1, 0), (1, 1)."""
    both = cell.y * cell.z
    y, z = cell.y - both, cell.z - both
    return (1.0 - cell.z).sub_(y), y, z, both


class Projector:
    """The transform of one reference, ready to be sliced.

    Slices are the transforms of projections ``sum_z V`` in the package's normalisation.
    """

    def __init__(self, volume: Tensor, max_radius: int, padding: int = PADDING) -> None:
        """Take ``volume [n, n, n]`` (float32 or float64) to its padded grid out to ``max_radius``."""
        box = volume.shape[-1]
        # slices interpolate the transform, which damps real space: undo that beforehand
        corrected = volume / trilinear_attenuation(box, padding, volume.dtype, volume.device)
        grid = volume_to_grid(corrected, max_radius, padding) * box
        self._values = grid.reshape(-1).contiguous()
        self._shape = tuple(grid.shape)
        self.max_radius = max_radius
        self.padding = padding

    @property
    def grid(self) -> Tensor:
        """The padded transform, complex ``[2R + 1, 2R + 1, R + 1]``."""
        return self._values.reshape(self._shape)

    @property
    def device(self) -> torch.device:
        """Where the data are."""
        return self._values.device

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Shape ``(2R + 1, 2R + 1, R + 1)`` of the padded transform."""
        return self._shape

    @property
    def cells(self) -> int:
        """Number of values of the padded transform."""
        return int(self._values.shape[0])

    def moved(self, copy: Callable[[Tensor], Tensor]) -> Projector:
        """The same projector on a copy of its data, for memory that processes share."""
        other = Projector.__new__(Projector)
        other.__dict__.update(self.__dict__, _values=copy(self._values))
        return other

    def on(self, device: torch.device) -> Projector:
        """The same projector on a device: this one if it is there."""
        return self if device == self.device else self.moved(lambda values: values.to(device))

    def slices(self, matrices: Tensor, plane: HalfPlane) -> Tensor:
        """Complex ``[r, n]`` slices for orientations ``[r, 3, 3]`` on the pixels of ``plane``.

        Every pixel must lie within ``max_radius``.
        """
        real = self._values.real.dtype
        out = torch.empty(matrices.shape[0], 2, len(plane), dtype=real, device=self.device)
        self.slices_into(out, matrices, plane)
        return torch.complex(out[:, 0], out[:, 1])

    def slices_into(self, out: Tensor, matrices: Tensor, plane: HalfPlane) -> None:
        """Write real and imaginary parts of `slices` to ``out [r, 2, n]``."""
        rows = max(1, points_per_block(out.device) // len(plane))
        for start in range(0, matrices.shape[0], rows):
            block = slice(start, start + rows)
            self._interpolate(out[block], matrices[block].to(out.dtype), plane)

    def _interpolate(self, out: Tensor, matrices: Tensor, plane: HalfPlane) -> None:
        radius = self._shape[2] - 1
        cell = locate_slices(matrices, plane, self.padding, radius)
        corners = [self._looked_up(offset, cell.index) for _, _, _, offset in corner_offsets(radius)]
        for along in (cell.x, cell.y, cell.z):
            both = doubled(along)
            pairs = zip(corners[::2], corners[1::2], strict=True)
            corners = [torch.lerp(low, high, both, out=low) for low, high in pairs]
        write_parts(out, corners[0], cell.sign)

    def _looked_up(self, offset: int, index: Tensor) -> Tensor:
        """Values ``[2 p]`` at ``offset + index [p]``, real and imaginary parts in turn.

        A complex number is looked up at once, in the time of a real one.
        """
        return torch.view_as_real(self._values[offset:].index_select(0, index)).flatten()


def doubled(weights: Tensor) -> Tensor:
    """Each of ``weights [p]`` twice, ``[2 p]``: for a real and an imaginary part."""
    return torch.view_as_real(torch.complex(weights, weights)).flatten()


def write_parts(out: Tensor, found: Tensor, sign: Tensor) -> None:
    """Write ``found [2 r n]``, real and imaginary parts in turn, to ``out [r, 2, n]``; ``sign`` is the imaginary's."""
    parts = found.reshape(*out[:, 0].shape, 2)
    out[:, 0] = parts[..., 0]
    torch.mul(parts[..., 1], sign.reshape(out.shape[0], -1), out=out[:, 1])
