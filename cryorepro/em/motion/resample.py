"""Sums of displaced frames: every frame resampled at its own smooth trajectory, many weighted sums at once.

A strip of rows is brought to its place by two small matrix products per tile, along y and along x, whose banded rows
hold a Kaiser-windowed sinc for the shift at that row or column. The neighbours' shift across the other axis of a tile
is taken at the tile's middle; over 64 pixels a local motion of a few pixels changes by a few hundredths. Working
strip by strip keeps everything in the processor's cache, and one matrix product adds the strip to all sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.motion.trajectory import Frames, spatial_terms

TILE, TAPS, PHASES = 32, 12, 128
_KAISER_BETA = 5.0
GROUP = 4
"""Frames added to the sums by one product."""


def kernel(offsets: Tensor) -> Tensor:
    """Kaiser-windowed sinc at ``offsets`` in pixels, 0 from ``TAPS / 2`` on."""
    inside = (1.0 - (2.0 * offsets / TAPS) ** 2).clamp(min=0.0)
    window = torch.special.i0(_KAISER_BETA * inside.sqrt()) / torch.special.i0(torch.tensor(_KAISER_BETA))
    return torch.where(offsets.abs() < TAPS / 2, window * torch.sinc(offsets), torch.zeros(()))


@lru_cache(maxsize=4)
def band_library(margin: int) -> Tensor:
    """Rows of banded matrices ``[TILE * (2 * margin * PHASES + 1), TILE + TAPS + 2 * margin]``.

    Row ``r * (2 * margin * PHASES + 1) + p`` interpolates the window at ``r + p / PHASES`` plus half the taps; its
    sum is 1.
    """
    steps = 2 * margin * PHASES + 1
    halo = TAPS // 2 + margin
    places = torch.arange(steps, dtype=torch.float64) / PHASES - margin + halo
    columns = torch.arange(TILE + 2 * halo, dtype=torch.float64)
    rows = torch.arange(TILE, dtype=torch.float64)
    found = kernel(columns[None, None, :] - rows[:, None, None] - places[None, :, None])
    found /= found.sum(dim=2, keepdim=True)
    return found.to(torch.float32).view(TILE * steps, -1)


@dataclass(frozen=True)
class _Plan:
    """Shifts of all frames along one strip: integer parts and rows of the library."""

    base_x: list[int]
    base_y: list[int]
    rows_x: Tensor
    rows_y: Tensor


def weighted_sums(
    frames: Sequence[Tensor], gain: Tensor | None, trajectory: Frames, weights: Tensor, sums: Tensor | None = None
) -> Tensor:
    """Sum displaced frames.

    Args:
        frames: ``[h, w]`` each, of any type of number.
        gain: ``[h, w]`` that each is multiplied with, or None.
        trajectory: shifts in pixels of ``frames``.
        weights: ``[sums, frames]``.
        sums: what to add to, in place. Frames that are added in several calls give the same bits as in one, if each
            call but the last has a multiple of ``GROUP`` frames.

    Returns:
        ``[sums, h, w]`` float32. Beyond the edges of a frame its outermost pixels are repeated.
    """
    height, width = frames[0].shape
    device, columns = frames[0].device, math.ceil(width / TILE)
    margin = 2 + math.floor(_spread(trajectory))
    library = band_library(margin).to(device)
    if sums is None:
        sums = torch.zeros(len(weights), height, width, device=device)
    weights = weights.to(device, torch.float32)
    work = _Buffers(columns, library.shape[1], device)
    total = torch.empty(len(weights), columns, TILE, TILE, device=device)
    strip = torch.zeros(len(weights), TILE, columns * TILE, device=device)
    for top in range(0, height, TILE):
        plan = _plan(trajectory, top, columns, margin, device)
        rows = min(TILE, height - top)
        strip[:, :rows, :width] = sums[:, top : top + rows]
        total.copy_(strip.view(-1, TILE, columns, TILE).transpose(1, 2))
        for first in range(0, len(frames), GROUP):
            count = min(GROUP, len(frames) - first)
            for place in range(count):
                _displace(frames[first + place], gain, plan, first + place, top, margin, library, work, place)
            total.view(len(weights), -1).addmm_(weights[:, first : first + count], work.group[:count].view(count, -1))
        strip.view(-1, TILE, columns, TILE).copy_(total.transpose(1, 2))
        sums[:, top : top + rows] = strip[:, :rows, :width]
    return sums


class _Buffers:
    """Memory that is used again for every strip: making it anew costs more than filling it."""

    def __init__(self, columns: int, side: int, device: torch.device) -> None:
        self.window = torch.empty(side, columns * TILE + side - TILE, device=device)
        self.matrices = torch.empty(columns, TILE, side, device=device)
        self.middle = torch.empty(columns, TILE, side, device=device)
        self.group = torch.empty(GROUP, columns, TILE, TILE, device=device)


def _spread(trajectory: Frames) -> float:
    """Bound of how far a local shift is from the mean of its strip, in pixels."""
    grid = np.linspace(-0.5, 0.5, 9)
    x, y = np.meshgrid(grid, grid)
    shifts = np.einsum("fds,yxs->fdyx", trajectory.local_px, spatial_terms(x, y))
    return 1.1 * float(np.ptp(shifts, axis=3).max())


def _plan(trajectory: Frames, top: int, columns: int, margin: int, device: torch.device) -> _Plan:
    along = np.arange(columns * TILE, dtype=np.float64).reshape(columns, TILE)
    middles = along.mean(axis=1, keepdims=True)
    down = top + np.arange(TILE, dtype=np.float64)[None]
    wide, high = trajectory.width_px, trajectory.height_px
    terms_x = spatial_terms(along / wide - 0.5, np.array((top + (TILE - 1) / 2) / high - 0.5))
    terms_y = spatial_terms(middles / wide - 0.5, down / high - 0.5)
    local = trajectory.local_px
    base_x, rows_x = _rows(trajectory.whole_px[:, 0], local[:, 0], terms_x, margin)
    base_y, rows_y = _rows(trajectory.whole_px[:, 1], local[:, 1], terms_y, margin)
    return _Plan(base_x, base_y, rows_x.to(device), rows_y.to(device))


def _rows(
    whole: np.ndarray[tuple[int], np.dtype[np.float64]],
    local: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    terms: np.ndarray[tuple[int, int, int], np.dtype[np.float64]],
    margin: int,
) -> tuple[list[int], Tensor]:
    places = -whole[:, None, None] - np.tensordot(local, terms, axes=(1, 2))
    base = np.rint(places.mean(axis=(1, 2)))
    steps = np.rint((places - base[:, None, None] + margin) * PHASES).astype(np.int64)
    steps = np.clip(steps, 0, 2 * margin * PHASES) + np.arange(TILE) * (2 * margin * PHASES + 1)
    return base.astype(int).tolist(), torch.from_numpy(steps.reshape(len(whole), -1))


def _displace(
    frame: Tensor,
    gain: Tensor | None,
    plan: _Plan,
    number: int,
    top: int,
    margin: int,
    library: Tensor,
    work: _Buffers,
    place: int,
) -> None:
    halo = TAPS // 2 + margin
    columns, _, side = work.matrices.shape
    window, matrices = work.window, work.matrices
    _window(frame, gain, top + plan.base_y[number] - halo, plan.base_x[number] - halo, window)
    tiles = window.as_strided((columns, side, side), (TILE, window.stride(0), 1))
    torch.index_select(library, 0, plan.rows_y[number], out=matrices.view(-1, side))
    torch.bmm(matrices, tiles, out=work.middle)
    torch.index_select(library, 0, plan.rows_x[number], out=matrices.view(-1, side))
    torch.bmm(work.middle, matrices.transpose(1, 2), out=work.group[place])


def _window(frame: Tensor, gain: Tensor | None, top: int, left: int, out: Tensor) -> None:
    """Fill ``out`` with a frame times its gain from row ``top``, column ``left`` on, repeating its edges."""
    (height, width), (rows, columns) = frame.shape, out.shape
    # a window beyond an edge holds nothing but that edge, as does one that just touches it
    top, left = min(max(top, 1 - rows), height - 1), min(max(left, 1 - columns), width - 1)
    first, last = max(top, 0), min(top + rows, height)
    begin, end = max(left, 0), min(left + columns, width)
    above, below, before, after = first - top, last - top, begin - left, end - left
    part, inner = frame[first:last, begin:end], out[above:below, before:after]
    inner.copy_(part)
    if gain is not None:
        inner.mul_(gain[first:last, begin:end])
    out[above:below, :before] = inner[:, :1]
    out[above:below, after:] = inner[:, -1:]
    out[:above] = out[above]
    out[below:] = out[below - 1]
