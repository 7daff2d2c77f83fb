"""Overlapping patches of reduced frames, each following the whole frame's motion, as spectra."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.motion.reduced import taper
from cryorepro.em.motion.scoring import Band

_OVERLAP = 1.25
_SMALLEST_SIDE = 24
_EDGE_SHARE = 4
"""Of a patch's side, one in so many pixels belongs to either edge."""


@dataclass(frozen=True)
class Patches:
    """Spectra of patches.

    Attributes:
        spectra: one ``[frames, ny, nx]`` per patch.
        taken_px: ``[patches, frames, 2]`` (x, y), the shift with which each was cut out, in full pixels; on the CPU.
        centres_px: ``[patches, 2]`` (x, y) in the corrected micrograph, in full pixels; on the CPU.
        band: of the spectra.
    """

    spectra: list[Tensor]
    taken_px: Tensor
    centres_px: Tensor
    band: Band


def cut_patches(reduced: Tensor, factor: int, whole_px: Tensor, grid: tuple[int, int], limit: float) -> Patches:
    """Cut ``grid`` = (columns, rows) patches out of every frame where the whole frame's shift puts them.

    Args:
        reduced: ``[frames, h, w]`` small frames of mean 0.
        factor: by which they are binned.
        whole_px: ``[frames, 2]`` shifts in full pixels.
        grid: patches along x and y.
        limit: highest frequency kept, in cycles per full pixel.
    """
    _, height, width = reduced.shape
    high, wide = _side(height, grid[1]), _side(width, grid[0])
    device = reduced.device
    band = Band.of(high, wide, factor, limit, device)
    window = taper(high, high // _EDGE_SHARE, device)[:, None] * taper(wide, wide // _EDGE_SHARE, device)
    spectra, taken, centres = [], [], []
    for top in _starts(height, high, grid[1]):
        for left in _starts(width, wide, grid[0]):
            rows = (top - (whole_px[:, 1] / factor).round().long()).clamp(0, height - high)
            columns = (left - (whole_px[:, 0] / factor).round().long()).clamp(0, width - wide)
            stack = torch.stack(
                [
                    reduced[number, row : row + high, column : column + wide]
                    for number, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True))
                ]
            )
            stack = (stack - stack.mean(dim=(1, 2), keepdim=True)) * window
            spectra.append(band.transform(stack))
            taken.append(torch.stack([left - columns, top - rows], dim=1).double() * factor)
            centres.append(((left + wide / 2) * factor, (top + high / 2) * factor))
    return Patches(spectra, torch.stack(taken), torch.tensor(centres, dtype=torch.float64), band)


def _side(length: int, count: int) -> int:
    wanted = max(_SMALLEST_SIDE, round(_OVERLAP * length / count))
    return min(length - length % 2, _fast_even(wanted))


def _fast_even(least: int) -> int:
    """The smallest even number from ``least`` on without prime factors above 5."""
    number = least + least % 2
    while True:
        rest = number
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 2


def _starts(length: int, side: int, count: int) -> list[int]:
    """First pixels of ``count`` patches whose middles divide the length evenly, all inside."""
    return [min(max(round((place + 0.5) * length / count - side / 2), 0), length - side) for place in range(count)]
