"""The soft spherical windows of a local resolution: their size, where they stand, and cubes cut around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft, ndimage
from torch import Tensor

from cryorepro.em.errors import InputError
from cryorepro.em.lowpass import Map, Volume
from cryorepro.em.maskcreate import spherical_mask

Points = npt.NDArray[np.int64]
# A crop this much wider than its window samples the window's FSC finely enough to interpolate it.
_CROP_OVER_WINDOW = 1.25


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
        wanted = int(np.ceil(_CROP_OVER_WINDOW * 2 * self.reach_px / 2)) * 2
        while fft.next_fast_len(wanted) != wanted or wanted % 2:
            wanted += 1
        return wanted

    def weights(self, box_px: int | None = None) -> Volume:
        """The window at the origin voxel of a crop, or of a cube of ``box_px``."""
        return spherical_mask(box_px or self.crop_px, self.radius_px, self.edge_px)


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
        away = np.asarray(ndimage.distance_transform_edt(np.asarray(mask) <= 0.5))
        points = points[away[tuple(points.T)] < window.reach_px]
    if len(points) == 0:
        raise InputError("local resolution: the box has no room for a window, or none reaches the mask")
    return points


def crops(volume: Tensor, points: Points, side: int) -> Tensor:
    """Cubes ``[p, side, side, side]`` of ``volume`` centred at ``points``; beyond the box they are 0."""
    box = volume.shape[0]
    out = torch.zeros((len(points), side, side, side), dtype=volume.dtype)
    for row, centre in enumerate(points.tolist()):
        starts = [c - side // 2 for c in centre]
        inside = [slice(max(s, 0), min(s + side, box)) for s in starts]
        there = [slice(i.start - s, i.stop - s) for i, s in zip(inside, starts, strict=True)]
        out[row][there[0], there[1], there[2]] = volume[inside[0], inside[1], inside[2]]
    return out


def by_shell(side: int) -> tuple[Points, Points]:
    """Places of a flattened ``rfftn``'s coefficients in order of their shell, and where each shell begins among them.

    Shells 0 to ``side / 2``; coefficients beyond are left out.
    """
    full = np.fft.fftfreq(side, 1.0 / side)
    half = np.arange(side // 2 + 1)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None] ** 2
    shell = np.rint(np.sqrt(squared)).astype(np.int64).reshape(-1)
    order = np.argsort(shell, kind="stable")
    inside = order[shell[order] <= side // 2]
    return inside, np.searchsorted(shell[inside], np.arange(side // 2 + 1))


def add_windows(points: Points, values: npt.NDArray[np.float64], box_px: int, window: LocalWindow) -> Volume:
    """Sum ``[n, n, n]`` of windows centred at ``points``, each times its value; they end at the box's faces."""
    reach = window.reach_px
    kernel = window.weights(2 * reach + 2)[1:, 1:, 1:].astype(np.float32)
    padded = np.zeros((box_px + 2 * reach,) * 3, dtype=np.float32)
    for (z, y, x), value in zip(points.tolist(), values.tolist(), strict=True):
        padded[z : z + 2 * reach + 1, y : y + 2 * reach + 1, x : x + 2 * reach + 1] += np.float32(value) * kernel
    inner = slice(reach, reach + box_px)
    return padded[inner, inner, inner].astype(np.float64)
