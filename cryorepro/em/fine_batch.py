"""Particles with like numbers of significant samples together, padded to one shape, for the fine pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cryorepro.em.coarse_samples import Significant
from cryorepro.em.devices.plan import Plan
from cryorepro.em.fine_grid import FineSamples

# Samples of a batch may be padded to so many times their number (small ones anyhow).
_PADDING_ALLOWED = 1.6
_ALWAYS_TOGETHER = 64


@dataclass(frozen=True)
class FineBatch:
    """Fine samples of g particles: q orientations and s shifts each, some of them padding.

    Attributes:
        members: ``[g]`` int64 rows of the particles among the prepared images.
        rows: ``[g, q]`` int64 fine rows; ``sign`` ``[g, q]`` is -1 where the 180-degree mate is meant.
        shifts: ``[g, s]`` int64 fine shifts.
        allowed: ``[g, s, q]`` bool, combinations whose coarse parents are a significant pair.
    """

    members: Tensor
    rows: Tensor
    sign: Tensor
    shifts: Tensor
    allowed: Tensor


def batches_of(
    grid: FineSamples, significant: Sequence[Significant], numbers: int = Plan.numbers_per_batch
) -> list[FineBatch]:
    """Cut particles into batches whose gathered slices hold at most so many ``numbers``.

    Which ones go together depends on the particles given alone.
    """
    sizes = [(int(one.rows.shape[0]), int(one.shifts.shape[0])) for one in significant]
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    limit = max(1, numbers // (2 * grid.table.pixels * grid.children))
    groups: list[list[int]] = []
    used = most_shifts = 0
    for i in order:
        rows, shifts = sizes[i]
        used, most_shifts = used + rows * shifts, max(most_shifts, shifts)
        # rows ascend: these are the most
        if not groups or not _fits(len(groups[-1]) + 1, rows, most_shifts, used, limit):
            groups.append([])
            used, most_shifts = rows * shifts, shifts
        groups[-1].append(i)
    return [_batch(grid, group, [significant[i] for i in group]) for group in groups]


def _fits(count: int, most_rows: int, most_shifts: int, used: int, limit: int) -> bool:
    padded = count * most_rows * most_shifts
    return count * most_rows <= limit and padded <= max(_PADDING_ALLOWED * used, _ALWAYS_TOGETHER)


def _batch(grid: FineSamples, members: list[int], significant: list[Significant]) -> FineBatch:
    rows = pad_sequence([one.rows for one in significant], batch_first=True, padding_value=-1)
    turned = pad_sequence([one.turned for one in significant], batch_first=True)
    shifts = pad_sequence([one.shifts for one in significant], batch_first=True)
    pairs = torch.zeros(len(members), shifts.shape[1], rows.shape[1], dtype=torch.bool)
    for place, one in enumerate(significant):
        pairs[place, : one.shifts.shape[0], : one.rows.shape[0]] = one.pairs.T
    # padding borrows the first particle's first row: any row that the table holds
    rows = torch.where(rows < 0, rows[0, 0], rows)
    allowed = pairs.repeat_interleave(grid.shift_children, dim=1).repeat_interleave(grid.children, dim=2)
    sign = torch.where(turned, -1.0, 1.0).repeat_interleave(grid.children, dim=1)
    device = grid.slot_of.device
    return FineBatch(
        torch.tensor(members).to(device),
        grid.rows_of(rows.to(device)),
        sign.to(device),
        grid.shifts_of(shifts.to(device)),
        allowed.to(device),
    )
