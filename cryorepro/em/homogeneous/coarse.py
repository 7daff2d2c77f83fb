"""Level 0: every orientation and shift of a coarse grid, at low resolution, as two matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.devices.choice import product_precision
from cryorepro.em.fourier import HalfPlane
from cryorepro.em.homogeneous.candidates import Candidates
from cryorepro.em.homogeneous.scores import Weighted
from cryorepro.em.projection import Projector

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
    slices = torch.empty(matrices.shape[0], 2, len(near), device=matrices.device)
    projector.slices_into(slices, matrices, near)
    real, imaginary = (part.contiguous() for part in slices.unbind(1))
    return CoarseTable(matrices, real, imaginary, real**2 + imaginary**2, shifts, near.phase_ramps(shifts))


def coarse_candidates(table: CoarseTable, data: Weighted, keep: int, together: int) -> Candidates:
    """The ``keep`` best orientations of each of ``b`` images, so many ``together``, each with its best shift."""
    parts = []
    for start in range(0, data.values.shape[0], together):
        block = slice(start, start + together)
        crosses = _cross_terms(table, data, block)
        power = data.power[block, : table.real.shape[1]] @ table.power.T
        # the largest alone is several times quicker than the largest and its place, which few need
        scores = torch.cat([data.scores(cross.amax(dim=1), power) for cross in crosses], dim=1)
        top = torch.topk(scores, min(keep, scores.shape[1]), dim=1)
        orientation = top.indices.flatten()
        image = torch.arange(scores.shape[0], device=scores.device).repeat_interleave(top.indices.shape[1])
        shift = table.shifts[_best_shifts(crosses, image, orientation)]
        parts.append(Candidates(image + start, _matrices(table, orientation), shift, top.values.flatten()))
    return Candidates(*(torch.cat([getattr(part, n) for part in parts]) for n in Candidates.__dataclass_fields__))


def _cross_terms(table: CoarseTable, data: Weighted, block: slice) -> tuple[Tensor, Tensor]:
    """``[b, t, r]`` of every orientation, and of its half turn."""
    pixels = table.real.shape[1]
    shifted = data.values[block, None, :pixels] * table.ramps
    count, shifts = shifted.shape[:2]
    with product_precision(True, shifted.device):
        even = shifted.real.reshape(-1, pixels) @ table.real.T
        odd = shifted.imag.reshape(-1, pixels) @ table.imaginary.T
    return (even + odd).view(count, shifts, -1), even.sub_(odd).view(count, shifts, -1)


def _best_shifts(crosses: tuple[Tensor, Tensor], image: Tensor, orientation: Tensor) -> Tensor:
    """Place ``[c]`` of the best shift of chosen orientations (half turns after all others)."""
    rows = crosses[0].shape[2]
    both = [cross[image, :, orientation % rows] for cross in crosses]
    return torch.where((orientation >= rows)[:, None], both[1], both[0]).argmax(dim=1)


def _matrices(table: CoarseTable, orientation: Tensor) -> Tensor:
    rows = table.matrices.shape[0]
    found = table.matrices[orientation % rows]
    turned = orientation >= rows
    found[turned] = _HALF_TURN.to(found) @ found[turned]
    return found
