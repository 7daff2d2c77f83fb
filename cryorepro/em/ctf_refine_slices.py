"""Central slices of a map by trilinear interpolation, in numpy: `cryorepro.em.projection` without torch.

Importing torch takes more CPU time than the refinement of a thousand CTFs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cryorepro.em.conventions import PADDING, origin_index
from cryorepro.em.transforms import along

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Complexes = npt.NDArray[np.complex64]
# Points looked up at once: what they need stays in a core's cache.
_POINTS = 1 << 15
# Numbers transformed at once.
_VALUES = 1 << 21


class SliceGrid:
    """The transform of one map on a grid twice as fine as its box allows, out to a radius."""

    def __init__(self, volume: Singles, max_radius: int) -> None:
        """Take ``volume [n, n, n]`` to its grid, ``[2R + 1, 2R + 1, R + 1]`` with R one cell beyond the last used."""
        self.radius = PADDING * max_radius + 1
        self._box = volume.shape[0]
        # slices interpolate the transform, which damps real space: undo that beforehand
        at = np.arange(self._box) - origin_index(self._box)
        rise = (1.0 / np.sinc(at / (PADDING * self._box)) ** 2).astype(np.float32)
        self._cells = self._grid(volume * rise * rise[:, None] * rise[:, None, None]).reshape(-1)

    def _grid(self, volume: Singles) -> Complexes:
        box, wide, radius = self._box, PADDING * self._box, self.radius
        signed = np.arange(-radius, radius + 1)
        # the origin is at the central voxel, and values are per pixel of a projection in the package's scale
        shift = np.exp(2j * math.pi * origin_index(box) / wide * signed)
        factor, half = shift.astype(np.complex64), (shift[radius:] / float(box) ** 2).astype(np.complex64)
        lines = np.empty((box, 2 * radius + 1, radius + 1), dtype=np.complex64)
        for part in _parts(box, box * wide):
            padded = np.zeros((part.stop - part.start, box, wide), dtype=np.float32)
            padded[:, :, :box] = volume[part]
            columns = np.zeros((len(padded), wide, radius + 1), dtype=np.complex64)
            np.multiply(along(padded, 2)[:, :, : radius + 1], half, out=columns[:, :box])
            np.multiply(_signed(along(columns, 1), 1, radius), factor[:, None], out=lines[part])
        grid = np.empty((2 * radius + 1, 2 * radius + 1, radius + 1), dtype=np.complex64)
        for part in _parts(2 * radius + 1, (radius + 1) * wide):
            deep = np.zeros((wide, part.stop - part.start, radius + 1), dtype=np.complex64)
            deep[:box] = lines[:, part]
            np.multiply(_signed(along(deep, 0), 0, radius), factor[:, None, None], out=grid[:, part])
        return grid

    def slices(self, matrices: Floats, kx: npt.NDArray[np.int64], ky: npt.NDArray[np.int64]) -> Complexes:
        """``[r, n]``: slices for orientations ``[r, 3, 3]`` at the pixels (kx, ky) ``[n]``."""
        out = np.empty((len(matrices), len(kx)), dtype=np.complex64)
        pixels = PADDING * np.stack([kx, ky]).astype(np.float32)
        rows = max(1, _POINTS // len(kx))
        for start in range(0, len(matrices), rows):
            axes = matrices[start : start + rows, :2].astype(np.float32)
            x, y, z = (np.ascontiguousarray((axes[:, :, i] @ pixels).reshape(-1)) for i in range(3))
            out[start : start + rows] = self._interpolated(x, y, z).reshape(-1, len(kx))
        return out

    def _interpolated(self, x: Singles, y: Singles, z: Singles) -> Complexes:
        """Values ``[p]``; points at x < 0 are served by their Friedel mates."""
        side = 2 * self.radius + 1
        sign = np.copysign(np.float32(1.0), x)
        x, y, z = np.abs(x), y * sign, z * sign
        x0, y0, z0 = np.floor(x), np.floor(y), np.floor(z)
        index = z0.astype(np.int64) + self.radius
        index = (index * side + y0.astype(np.int64) + self.radius) * (self.radius + 1) + x0.astype(np.int64)
        # neighbours along x are read together, as one number of twice the size
        pairs: npt.NDArray[np.complex128] = np.ndarray((len(self._cells) - 1,), np.complex128, self._cells, 0, (8,))
        in_x, in_y, in_z = ((value - low).astype(np.complex64) for value, low in ((x, x0), (y, y0), (z, z0)))
        row, plane = self.radius + 1, side * (self.radius + 1)
        corners = [_pair(pairs[index + offset], in_x) for offset in (0, row, plane, plane + row)]
        near, far = (_between(corners[at], corners[at + 1], in_y) for at in (0, 2))
        value = _between(near, far, in_z)
        value.imag *= sign
        return value


def _pair(both: npt.NDArray[np.complex128], x: Complexes) -> Complexes:
    values = both.view(np.complex64).reshape(-1, 2)
    return _between(values[:, 0], values[:, 1], x)


def _between(low: Complexes, high: Complexes, along_axis: Complexes) -> Complexes:
    value = high - low
    value *= along_axis
    value += low
    return value


def _signed(values: Complexes, axis: int, radius: int) -> Complexes:
    """Frequencies -radius to radius of a transform along ``axis``, in order."""
    last = values.shape[axis]
    parts = np.split(values, (radius + 1, last - radius), axis)
    return np.concatenate([parts[2], parts[0]], axis)


def _parts(count: int, numbers_each: int) -> Iterator[slice]:
    step = max(1, _VALUES // numbers_each)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def view_matrices(euler_deg: Floats) -> Floats:
    """Matrices ``[n, 3, 3]`` of Euler angles ``[n, 3]`` = (rot, tilt, psi) in degrees, as `rotations` makes them."""
    (c_rot, c_tilt, c_psi), (s_rot, s_tilt, s_psi) = np.cos(angles := np.deg2rad(euler_deg.T)), np.sin(angles)
    x_axis = np.stack([c_tilt * c_rot, c_tilt * s_rot, -s_tilt], axis=1)
    y_axis = np.stack([-s_rot, c_rot, np.zeros_like(c_rot)], axis=1)
    first = c_psi[:, None] * x_axis + s_psi[:, None] * y_axis
    second = -s_psi[:, None] * x_axis + c_psi[:, None] * y_axis
    return np.stack([first, second, np.stack([s_tilt * c_rot, s_tilt * s_rot, c_tilt], axis=1)], axis=1)
