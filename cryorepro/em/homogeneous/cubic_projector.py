"""Central slices by cubic B-spline interpolation in the padded transform.

A spline that is spread over the grid multiplies real space by its own transform, sinc^4 along each axis; the volume is
divided by that beforehand, as for linear interpolation by sinc^2.  What remains is aliasing from the next copies of the
box, which the cubic kernel damps by another ``(f / (1 - f))^2`` (Unser, IEEE Signal Processing Magazine 16 (1999) 22,
section on approximation order).  It looks up 64 numbers where linear interpolation looks up 8.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cryorepro.em.conventions import PADDING
from cryorepro.em.fourier import HalfPlane, trilinear_attenuation, volume_to_grid
from cryorepro.em.projection import Projector, doubled, write_parts

_MARGIN = 2
"""Grid cells beyond the last that linear interpolation needs: taps reach from floor - 1 to floor + 2."""


def spline_weights(position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights ``[p]`` of the taps at -1, 0, 1, 2 for positions ``[p]`` in [0, 1): they sum to 1."""
    rest = 1.0 - position
    outer, far = rest**3 / 6.0, position**3 / 6.0
    near = 2.0 / 3.0 - position**2 * (1.0 - position / 2.0)
    return outer, near, 1.0 - outer - near - far, far


class CubicProjector(Projector):
    """As `Projector`, with a cubic B-spline in place of linear interpolation."""

    def __init__(self, volume: Tensor, max_radius: int, padding: int = PADDING) -> None:
        """Take ``volume [n, n, n]`` to its padded grid, with a margin for the wider kernel."""
        box = volume.shape[-1]
        corrected = volume / trilinear_attenuation(box, padding, volume.dtype, volume.device) ** 2
        grid = volume_to_grid(corrected, max_radius + -(-_MARGIN // padding), padding) * box
        # one column at kx = -1, the mates of kx = 1, so that no tap needs a sign of its own
        grid = torch.cat([grid[..., 1:2].flip((0, 1)).conj(), grid], dim=-1)
        self._values = grid.reshape(-1)
        self._shape = tuple(grid.shape)
        self.max_radius = max_radius
        self.padding = padding

    @property
    def grid(self) -> Tensor:
        """The padded transform without the margin's column, complex ``[2R + 1, 2R + 1, R + 1]``."""
        return self._values.reshape(self._shape)[..., 1:]

    def _interpolate(self, out: Tensor, matrices: Tensor, plane: HalfPlane) -> None:
        pixels = torch.stack([plane.kx, plane.ky]).to(matrices) * self.padding
        x, y, z = (matrices[:, :2].permute(2, 0, 1).reshape(-1, 2) @ pixels).reshape(3, -1)
        sign = torch.copysign(torch.ones((), dtype=x.dtype, device=x.device), x)
        x, y, z = x.abs(), y * sign, z * sign
        floors = [v.floor() for v in (x, y, z)]
        weights = [
            [doubled(weight) for weight in spline_weights(v - low)] for v, low in zip((x, y, z), floors, strict=True)
        ]
        side, row = self._shape[1], self._shape[2]
        centre = side // 2
        lowest = [low.long() for low in floors]
        index = ((lowest[2] + centre - 1) * side + lowest[1] + centre - 1) * row + lowest[0]
        write_parts(out, self._weighted(index, weights, side, row), sign)

    def _weighted(self, index: Tensor, weights: Sequence[Sequence[Tensor]], side: int, row: int) -> Tensor:
        """Sum ``[2 p]`` over the 4 x 4 x 4 taps from ``index [p]`` on; real and imaginary parts in turn."""
        along_x, along_y, along_z = weights
        total = torch.zeros_like(along_x[0])
        for dz, wz in enumerate(along_z):
            for dy, wy in enumerate(along_y):
                line = torch.zeros_like(total)
                for dx, wx in enumerate(along_x):
                    line.addcmul_(self._looked_up((dz * side + dy) * row + dx, index), wx)
                total.addcmul_(line, wz * wy)
        return total


KERNELS = {"linear": Projector, "cubic": CubicProjector}
"""Projectors by the name of their interpolation kernel."""
