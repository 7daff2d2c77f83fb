"""The soft spherical windows of a local resolution: their size, where they stand, cubes cut around them, sums."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError
from cryorepro.em.lowpass import Map, Volume
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.transforms import quick_even_size

Points = npt.NDArray[np.int64]
Kernel = npt.NDArray[np.float32]
# A crop this much wider than its window samples the window's FSC finely enough to interpolate it.
_CROP_OVER_WINDOW = 1.25
_TILE_PX = 16
# Voxels looked at one window after another, in maps, above which one distance map of the mask is quicker.
_MAPS_LOOKED_AT = 32


@dataclass(frozen=True)
class LocalWindow:
    """A sphere of ``radius_px`` with a raised-cosine edge of ``edge_px`` outside, every ``step_px`` voxels."""

    step_px: int
    radius_px: int
    edge_px: int

    @classmethod
    def from_angstrom(
        cls,
        pixel_size_angstrom: float,
        sampling_angstrom: float = 25.0,
        radius_angstrom: float | None = None,
        edge_angstrom: float | None = None,
    ) -> LocalWindow:
        """The window of these lengths in whole voxels; RELION's defaults are half the sampling and the sampling.

        Raises:
            InputError: windows would be less than a voxel apart or wide.
        """
        radius = 0.5 * sampling_angstrom if radius_angstrom is None else radius_angstrom
        edge = sampling_angstrom if edge_angstrom is None else edge_angstrom
        lengths = [int(length / pixel_size_angstrom + 0.5) for length in (sampling_angstrom, radius, edge)]
        if min(lengths[:2]) < 1:
            raise InputError(f"local resolution: voxels of {pixel_size_angstrom:g} A are too large for its windows")
        return cls(*lengths)

    @property
    def reach_px(self) -> int:
        """Distance from its centre at which a window has ended."""
        return self.radius_px + self.edge_px

    @property
    def crop_px(self) -> int:
        """Side of the cube cut out around a window: even, and quick to transform."""
        return quick_even_size(int(np.ceil(_CROP_OVER_WINDOW * 2 * self.reach_px / 2)) * 2)

    def weights(self, box_px: int | None = None) -> Volume:
        """The window at the origin voxel of a crop, or of a cube of ``box_px``."""
        return spherical_mask(box_px or self.crop_px, self.radius_px, self.edge_px)

    def kernel(self) -> Kernel:
        """The window in the smallest cube that holds it, ``[2 reach + 1] * 3``, its centre in the middle."""
        return self.weights(2 * self.reach_px + 2)[1:, 1:, 1:].astype(np.float32)


def sampled_points(box_px: int, window: LocalWindow, mask: Map | None = None) -> Points:
    """Centres ``[p, 3]`` (z, y, x): a grid through the box's corner, inside a sphere that leaves room for a window.

    Raises:
        InputError: there is none.
    """
    axis = np.arange(0, box_px, window.step_px)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.sqrt(((grid - box_px // 2) ** 2).sum(axis=1))
    points: Points = grid[distance < box_px // 2 - window.radius_px]
    if mask is not None:
        if mask.shape != (box_px,) * 3:
            raise InputError(f"the mask has shape {mask.shape}, the half maps {(box_px,) * 3}")
        if not (np.asarray(mask) > 0.5).any():
            raise InputError("local resolution: no voxel of the mask is above 0.5")
        points = points[_reach_the_mask(points, np.asarray(mask) > 0.5, window.reach_px)]
    if len(points) == 0:
        raise InputError("local resolution: the box has no room for a window, or none reaches the mask")
    return points


def _reach_the_mask(points: Points, inside: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Which points ``[p]`` have a voxel of the mask nearer than ``reach``."""
    reached = np.asarray(inside[tuple(points.T)])
    others = np.flatnonzero(~reached)
    if len(others) * (2 * reach + 1) ** 3 > _MAPS_LOOKED_AT * inside.size:
        from scipy import ndimage

        away = np.asarray(ndimage.distance_transform_edt(~inside))
        return np.asarray(away[tuple(points.T)] < reach)
    axis = np.arange(-reach, reach + 1) ** 2
    near = axis[:, None, None] + axis[None, :, None] + axis[None, None] < reach**2
    for number in others.tolist():
        reached[number] = bool((crop(inside, points[number], 2 * reach + 1) & near).any())
    return reached


def crop(volume: npt.NDArray[Any], centre: npt.NDArray[np.int64], side: int) -> npt.NDArray[Any]:
    """Cube ``[side] * 3`` of ``volume`` with ``centre`` at its voxel ``side // 2``; beyond the box it is 0."""
    starts = [int(c) - side // 2 for c in centre]
    inside = [slice(max(s, 0), min(s + side, n)) for s, n in zip(starts, volume.shape, strict=True)]
    cut = volume[tuple(inside)]
    if cut.shape == (side,) * 3:
        return cut
    out = np.zeros((side,) * 3, dtype=volume.dtype)
    out[tuple(slice(i.start - s, i.stop - s) for i, s in zip(inside, starts, strict=True))] = cut
    return out


def add_windows(points: Points, values: npt.NDArray[np.float64], box_px: int, window: LocalWindow) -> Volume:
    """Sum ``[n, n, n]`` of windows centred at ``points``, each times its value; they end at the box's faces."""
    reach, kernel = window.reach_px, window.kernel()
    padded = np.zeros((box_px + 2 * reach,) * 3, dtype=np.float32)
    for (z, y, x), value in zip(points.tolist(), values.tolist(), strict=True):
        padded[z : z + 2 * reach + 1, y : y + 2 * reach + 1, x : x + 2 * reach + 1] += np.float32(value) * kernel
    inner = slice(reach, reach + box_px)
    return padded[inner, inner, inner].astype(np.float64)


def add_blend(
    out: Kernel, points: Points, values: npt.NDArray[np.floating], volumes: Kernel, window: LocalWindow
) -> None:
    """Add to ``out [n, n, n]`` the ``volumes [c, n, n, n]``, each times the windows with its values ``[p, c]``.

    Cube after cube of voxels: the windows that reach one are laid side by side, so that all the sums of windows are
    one matrix product.
    """
    reach, box = window.reach_px, volumes.shape[1]
    kernel = np.pad(window.kernel(), _TILE_PX)
    weights = np.asarray(values, dtype=np.float32).T
    corners = range(0, box, _TILE_PX)
    for corner in itertools.product(corners, corners, corners):
        sides = [min(_TILE_PX, box - begin) for begin in corner]
        # where this cube begins in the padded kernel of each window
        begins = np.array(corner) - points + reach + _TILE_PX
        reaching = np.flatnonzero(((begins > 0) & (begins < kernel.shape[0] - _TILE_PX)).all(axis=1))
        if reaching.size == 0:
            continue
        parts = np.empty((reaching.size, *sides), dtype=np.float32)
        for part, (z, y, x) in zip(parts, begins[reaching].tolist(), strict=True):
            part[:] = kernel[z : z + sides[0], y : y + sides[1], x : x + sides[2]]
        sums = (weights[:, reaching] @ parts.reshape(reaching.size, -1)).reshape(-1, *sides)
        place = tuple(slice(begin, begin + side) for begin, side in zip(corner, sides, strict=True))
        sums *= volumes[(slice(None), *place)]
        out[place] += sums.sum(axis=0)
