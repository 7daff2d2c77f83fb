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
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.motion.trajectory import Trajectory, spatial_terms

TILE, TAPS, PHASES = 32, 12, 128
_KAISER_BETA = 5.0
_SEGMENTS = (1, 2, 4, 8)
_SMALL_SPREAD_PX = 2.0
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
class _Layout:
    """How a strip is laid out: segments of tiles, each with a whole-pixel shift of its own and spare tiles at its end.

    The spare tiles make room for a segment's margins, so that all tiles lie at equal distances.
    """

    segments: int
    tiles: int
    spare: int
    margin: int

    @classmethod
    def of(cls, trajectory: Trajectory) -> _Layout:
        """As few segments as keep the tiles' windows small."""
        columns = math.ceil(trajectory.width_px / TILE)
        for segments in _SEGMENTS:
            spread = _spread(trajectory, segments)
            if spread <= _SMALL_SPREAD_PX or columns < 8 * segments:
                break
        # a quadratic is nowhere further from its mean than two thirds of its range
        margin = max(2, math.ceil(0.5 + 0.75 * spread))
        return cls(segments, math.ceil(columns / segments), math.ceil(2 * (TAPS // 2 + margin) / TILE), margin)

    @property
    def halo(self) -> int:
        """Pixels on either side of a tile that its window has."""
        return TAPS // 2 + self.margin

    @property
    def side(self) -> int:
        """Of a tile's window."""
        return TILE + 2 * self.halo

    @property
    def slots(self) -> int:
        """Tiles in all."""
        return self.segments * (self.tiles + self.spare)


@dataclass(frozen=True)
class _Plan:
    """Shifts of all frames along one strip: whole pixels ``[frames][segments]`` and rows of the library."""

    base_x: list[list[int]]
    base_y: list[list[int]]
    rows_x: Tensor
    rows_y: Tensor


def weighted_sums(
    frames: Sequence[Tensor],
    gain: Tensor | None,
    trajectory: Trajectory,
    weights: Tensor,
    first: int = 0,
    sums: Tensor | None = None,
) -> Tensor:
    """Sum displaced frames.

    Args:
        frames: ``[h, w]`` each, of any type of number; those from number ``first`` of the movie on.
        gain: ``[h, w]`` that each is multiplied with, or None.
        trajectory: shifts of all frames of the movie in pixels.
        weights: ``[sums, frames]``, of all frames of the movie.
        first: number of the first of ``frames``, counted from 0.
        sums: what to add to, in place. Frames that are added in several calls give the same bits as in one, if each
            call but the last has a multiple of ``GROUP`` frames.

    Returns:
        ``[sums, h, w]`` float32. Beyond the edges of a frame its outermost pixels are repeated.
    """
    height, width = frames[0].shape
    device, layout = frames[0].device, _Layout.of(trajectory)
    if sums is None:
        sums = torch.zeros(len(weights), height, width, device=device)
    weights = weights.to(device, torch.float32)
    work = _Buffers(layout, band_library(layout.margin).to(device))
    total = torch.zeros(len(weights), layout.slots, TILE, TILE, device=device)
    strip = torch.zeros(len(weights), TILE, layout.segments * layout.tiles * TILE, device=device)
    tiled = strip.view(-1, TILE, layout.segments, layout.tiles, TILE).permute(0, 2, 3, 1, 4)
    used = total.view(-1, layout.segments, layout.tiles + layout.spare, TILE, TILE)[:, :, : layout.tiles]
    for top in range(0, height, TILE):
        plan = _plan(trajectory, top, layout, device)
        rows = min(TILE, height - top)
        strip[:, :rows, :width] = sums[:, top : top + rows]
        used.copy_(tiled)
        for start in range(0, len(frames), GROUP):
            count, number = min(GROUP, len(frames) - start), first + start
            for place in range(count):
                _displace(frames[start + place], gain, plan, number + place, top, layout, work, place)
            shares, group = weights[:, number : number + count], work.group[:count].view(count, -1)
            total.view(len(weights), -1).addmm_(shares, group)
        tiled.copy_(used)
        sums[:, top : top + rows] = strip[:, :rows, :width]
    return sums


class _Buffers:
    """The library, and memory that is used again for every strip: making it anew costs more than filling it."""

    def __init__(self, layout: _Layout, library: Tensor) -> None:
        device, slots, side = library.device, layout.slots, layout.side
        self.library = library
        self.window = torch.zeros(side, slots * TILE + side, device=device)
        self.matrices = torch.empty(slots, TILE, side, device=device)
        self.middle = torch.empty(slots, TILE, side, device=device)
        self.group = torch.empty(GROUP, slots, TILE, TILE, device=device)


def _spread(trajectory: Trajectory, segments: int) -> float:
    """Largest range of local shifts along any strip within a segment, in pixels."""
    inner = np.linspace(0.0, 1.0, 9) / segments
    x = np.arange(segments)[:, None] / segments + inner - 0.5
    y = np.linspace(-0.5, 0.5, 9)[:, None, None]
    shifts = np.einsum("fds,yxis->fdyxi", trajectory.local_terms(), spatial_terms(x[None], y))
    return float(np.ptp(shifts, axis=4).max())


def _plan(trajectory: Trajectory, top: int, layout: _Layout, device: torch.device) -> _Plan:
    first = np.arange(layout.segments)[:, None] * layout.tiles + np.arange(layout.tiles + layout.spare)
    along = first[:, :, None] * TILE + np.arange(TILE, dtype=np.float64)
    middles = along.mean(axis=2, keepdims=True)
    down = top + np.arange(TILE, dtype=np.float64)
    wide, high = trajectory.width_px, trajectory.height_px
    terms_x = spatial_terms(along / wide - 0.5, np.array((top + (TILE - 1) / 2) / high - 0.5))
    terms_y = spatial_terms(middles / wide - 0.5, down / high - 0.5)
    local = trajectory.local_terms()
    rows = _rows if device.type == "cpu" else partial(_rows_there, device)
    base_x, rows_x = rows(trajectory.whole_px[:, 0], local[:, 0], terms_x, layout)
    base_y, rows_y = rows(trajectory.whole_px[:, 1], local[:, 1], terms_y, layout)
    return _Plan(base_x, base_y, rows_x, rows_y)


def _rows(
    whole: NDArray[np.float64], local: NDArray[np.float64], terms: NDArray[np.float64], layout: _Layout
) -> tuple[list[list[int]], Tensor]:
    """Whole pixels ``[frames][segments]``, and rows of the library ``[frames, slots * TILE]``."""
    places = -whole[:, None, None, None] - np.tensordot(local, terms, axes=(1, 3))
    base = np.rint(places[:, :, : layout.tiles].mean(axis=(2, 3)))
    count = 2 * layout.margin * PHASES
    steps = np.rint((places - base[:, :, None, None] + layout.margin) * PHASES).astype(np.int64)
    steps = np.clip(steps, 0, count) + np.arange(TILE) * (count + 1)
    return base.astype(int).tolist(), torch.from_numpy(steps.reshape(len(whole), -1))


def _rows_there(
    device: torch.device,
    whole: NDArray[np.float64],
    local: NDArray[np.float64],
    terms: NDArray[np.float64],
    layout: _Layout,
) -> tuple[list[list[int]], Tensor]:
    """What `_rows` finds, worked out on a GPU: numpy would take longer for it than the GPU for all the rest."""
    polynomial = torch.from_numpy(local).to(device) @ torch.from_numpy(terms).to(device).flatten(0, -2).T
    places = -torch.from_numpy(whole).to(device)[:, None] - polynomial
    places = places.view(len(whole), *terms.shape[:-1])
    base = places[:, :, : layout.tiles].mean(dim=(2, 3)).round()
    count = 2 * layout.margin * PHASES
    steps = ((places - base[:, :, None, None] + layout.margin) * PHASES).round().long()
    steps = steps.clamp(0, count) + torch.arange(TILE, device=device) * (count + 1)
    return base.long().cpu().tolist(), steps.view(len(whole), -1)


def _displace(
    frame: Tensor, gain: Tensor | None, plan: _Plan, number: int, top: int, layout: _Layout, work: _Buffers, place: int
) -> None:
    halo, side = layout.halo, layout.side
    inside, apart = layout.tiles * TILE, (layout.tiles + layout.spare) * TILE
    for segment, (x, y) in enumerate(zip(plan.base_x[number], plan.base_y[number], strict=True)):
        part = work.window[:, segment * apart : segment * apart + inside + 2 * halo]
        _window(frame, gain, top + y - halo, segment * inside + x - halo, part)
    window, matrices = work.window, work.matrices
    tiles = window.as_strided((layout.slots, side, side), (TILE, window.stride(0), 1))
    torch.index_select(work.library, 0, plan.rows_y[number], out=matrices.view(-1, side))
    torch.bmm(matrices, tiles, out=work.middle)
    torch.index_select(work.library, 0, plan.rows_x[number], out=matrices.view(-1, side))
    torch.bmm(work.middle, matrices.transpose(1, 2), out=work.group[place])


def _window(frame: Tensor, gain: Tensor | None, top: int, left: int, out: Tensor) -> None:
    """Fill ``out`` with a frame times its gain from row ``top``, column ``left`` on, repeating its edges."""
    (height, width), (rows, columns) = frame.shape, out.shape
    if top >= 0 and left >= 0 and top + rows <= height and left + columns <= width:
        out.copy_(frame[top : top + rows, left : left + columns])
        if gain is not None:
            out.mul_(gain[top : top + rows, left : left + columns])
        return
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
