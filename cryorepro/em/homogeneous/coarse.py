"""Level 0: every orientation and shift of a coarse grid, at low resolution, as two matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.fourier import HalfPlane
from cryorepro.em.homogeneous.candidates import Candidates
from cryorepro.em.homogeneous.scores import Weighted
from cryorepro.em.projection import Projector

_IMAGES_PER_BLOCK = 16
_HALF_TURN = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))


@dataclass(frozen=True)
class CoarseTable:
    """Slices of a grid of orientations; the half turn of each is its complex conjugate and not stored.

    Attributes:
        matrices: ``[r, 3, 3]`` float64.
        real, imaginary: ``[r, n]`` float32 slices, ``power`` ``[r, n]`` their squares.
        shifts: ``[t, 2]`` float64 (x, y) pixels, and ``ramps`` ``[t, n]`` complex64 of them.
    """

    matrices: Tensor
    real: Tensor
    imaginary: Tensor
    power: Tensor
    shifts: Tensor
    ramps: Tensor


def coarse_table(projector: Projector, plane: HalfPlane, matrices: Tensor, shifts: Tensor, radius: int) -> CoarseTable:
    """Slice the reference at ``matrices [r, 3, 3]`` out to ``radius``."""
    near = plane.prefix(plane.coarse_length(radius))
    slices = torch.empty(matrices.shape[0], 2, len(near))
    projector.slices_into(slices, matrices, near)
    real, imaginary = (part.contiguous() for part in slices.unbind(1))
    return CoarseTable(matrices, real, imaginary, real**2 + imaginary**2, shifts, near.phase_ramps(shifts))


def coarse_candidates(table: CoarseTable, data: Weighted, keep: int) -> Candidates:
    """The ``keep`` best orientations of each of ``b`` images, each with its best shift."""
    parts = []
    for start in range(0, data.values.shape[0], _IMAGES_PER_BLOCK):
        block = slice(start, start + _IMAGES_PER_BLOCK)
        scores, shifts = _scores(table, data, block)
        top = torch.topk(scores, min(keep, scores.shape[1]), dim=1)
        image = torch.arange(start, start + scores.shape[0]).repeat_interleave(top.values.shape[1])
        orientation = top.indices.flatten()
        shift = table.shifts[shifts.gather(1, top.indices).flatten()]
        parts.append(Candidates(image, _matrices(table, orientation), shift, top.values.flatten()))
    return Candidates(*(torch.cat([getattr(part, n) for part in parts]) for n in Candidates.__dataclass_fields__))


def _scores(table: CoarseTable, data: Weighted, block: slice) -> tuple[Tensor, Tensor]:
    """Best score over the shifts ``[b, 2 r]`` of each orientation, then of each half turn, and the shift it has."""
    pixels = table.real.shape[1]
    shifted = data.values[block, None, :pixels] * table.ramps
    count, shifts = shifted.shape[:2]
    even = shifted.real.reshape(-1, pixels) @ table.real.T
    odd = shifted.imag.reshape(-1, pixels) @ table.imaginary.T
    power = data.power[block, :pixels] @ table.power.T
    best, where = [], []
    for cross in (even + odd, even.sub_(odd)):
        largest = cross.view(count, shifts, -1).max(dim=1)
        best.append(data.scores(largest.values, power))
        where.append(largest.indices)
    return torch.cat(best, dim=1), torch.cat(where, dim=1)


def _matrices(table: CoarseTable, orientation: Tensor) -> Tensor:
    rows = table.matrices.shape[0]
    found = table.matrices[orientation % rows]
    turned = orientation >= rows
    found[turned] = _HALF_TURN @ found[turned]
    return found
