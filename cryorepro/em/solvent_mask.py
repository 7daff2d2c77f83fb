"""Masks that a user supplies for the solvent."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from cryorepro.em.errors import InputError
from cryorepro.em.particle_images import read_matching_map

_ROUNDING = 1e-4


def read_solvent_mask(path: Path, box_px: int, pixel_size_angstrom: float) -> Tensor:
    """A mask ``[n, n, n]`` float32 with values from 0 to 1.

    Raises:
        InputError: it is missing or malformed, its box or pixel size is not the particles', it has values outside
            0..1 (beyond rounding, which is cut off), or nothing is within it.
    """
    mask = read_matching_map(path, box_px, pixel_size_angstrom)
    low, high = float(mask.min()), float(mask.max())
    if low < -_ROUNDING or high > 1.0 + _ROUNDING:
        raise InputError(f"{path}: a mask has values from 0 to 1, this map has {low:g} to {high:g}.")
    if high <= 0.0:
        raise InputError(f"{path}: the mask is zero everywhere.")
    return mask.clamp(0.0, 1.0)
