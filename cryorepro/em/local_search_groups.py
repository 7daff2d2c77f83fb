"""Which particles are searched together, and in which order: neighbours in orientation share slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_GROUP = 64
# A window is so many steps wide; making a slice's pixel costs so much more than comparing an image with it.
_WINDOW_STEPS = 6
_SLICE_COST = 100.0
_MOST_CHUNKS = 64


@dataclass(frozen=True)
class Grouping:
    """Particles in order of orientation.

    Attributes:
        order: ``[m]`` int64, positions of the particles.
        starts: first position within ``order`` of every group; groups end where the next begins.
        chunks: ranges of groups, the tasks of one worker.
    """

    order: Tensor
    starts: Sequence[int]
    chunks: Sequence[range]

    def members(self, group: int) -> Tensor:
        """Positions of the particles of a group."""
        end = self.starts[group + 1] if group + 1 < len(self.starts) else int(self.order.shape[0])
        return self.order[self.starts[group] : end]


def make_grouping(nearest_rows: Tensor, n_psi: int, healpix_order: int) -> Grouping:
    """Group particles by the cell of orientations that holds their nearest row ``[m]``.

    The size of a cell weighs the slices it takes, once per group, against comparing each image with all of them.
    Neither depends on the number of workers, so the bits of the sums do not.
    """
    pixel, psi = nearest_rows // n_psi, nearest_rows % n_psi
    level = _cell_level(pixel, psi, healpix_order)
    order = _sorted_by([psi, pixel] if level is None else [psi, pixel, psi >> level, pixel >> (2 * level)])
    starts = [0]
    cells = None if level is None else torch.stack([pixel[order] >> (2 * level), psi[order] >> level]).T.tolist()
    for place in range(1, int(order.shape[0])):
        full = place - starts[-1] >= LARGEST_GROUP
        if cells is None or full or cells[place] != cells[place - 1]:
            starts.append(place)
    return Grouping(order, starts, _chunks(starts, int(order.shape[0])))


def _cell_level(pixel: Tensor, psi: Tensor, healpix_order: int) -> int | None:
    """Cells of ``2**level`` steps on each axis; None: every particle for itself."""
    best, cost = None, _SLICE_COST * _WINDOW_STEPS**3
    for level in range(healpix_order + 1):
        side = 2**level
        members = torch.unique(torch.stack([pixel >> (2 * level), psi >> level]), dim=1, return_counts=True)[1].double()
        shared = float((members**2).sum() / members.sum())
        union = float((side + _WINDOW_STEPS) ** 3)
        estimate = union * (_SLICE_COST / min(shared, float(LARGEST_GROUP)) + 1.0)
        if estimate < cost:
            best, cost = level, estimate
    return best


def _sorted_by(keys: Sequence[Tensor]) -> Tensor:
    """Positions sorted by the last key, then the one before, and so on; ties in order."""
    order = torch.arange(keys[0].shape[0])
    for key in keys:
        order = order[torch.argsort(key[order], stable=True)]
    return order


def _chunks(starts: Sequence[int], count: int) -> list[range]:
    """Consecutive groups with about a fixed number of particles."""
    target = max(LARGEST_GROUP, -(-count // _MOST_CHUNKS))
    chunks, first = [], 0
    for group in range(1, len(starts) + 1):
        end = starts[group] if group < len(starts) else count
        if end - starts[first] >= target or group == len(starts):
            chunks.append(range(first, group))
            first = group
    return chunks
