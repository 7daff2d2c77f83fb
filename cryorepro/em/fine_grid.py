"""Slices of the oversampled orientations that at least one particle needs, made once for all workers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.estep_model import EstepModel, SliceTable, project_table
from cryorepro.em.team import Team


@dataclass(frozen=True)
class FineSamples:
    """Children of the needed coarse rows: slot s owns table rows ``c s .. c s + c - 1``, c = ``children``.

    Attributes:
        table: slices of every fine row.
        slot_of: ``[coarse rows]`` int64 slot of a coarse row, -1 where none was needed.
        class_of: ``[slots]`` int64.
        children: fine orientations per coarse one, ``8**o`` in three dimensions and ``2**o`` in two.
        shifts: ``[t, 2]`` float64 fine shifts, ``shift_children`` per coarse shift.
        ramps: ``[t, 2, n]`` float32, cosine and sine of the phase that each shift adds.
        log_prior: ``[slots]`` float32 of the slot's class and direction.
    """

    table: SliceTable
    slot_of: Tensor
    class_of: Tensor
    children: int
    shifts: Tensor
    shift_children: int
    ramps: Tensor
    log_prior: Tensor

    def rows_of(self, coarse_rows: Tensor) -> Tensor:
        """Fine rows ``[..., m * children]`` of coarse rows ``[..., m]``, in order."""
        children = torch.arange(self.children, device=coarse_rows.device)
        return (self.slot_of[coarse_rows][..., None] * self.children + children).flatten(-2)

    def shifts_of(self, coarse_shifts: Tensor) -> Tensor:
        """Fine shift indices of coarse shifts, in order."""
        children = torch.arange(self.shift_children, device=coarse_shifts.device)
        return (coarse_shifts[..., None] * self.shift_children + children).flatten(-2)


@dataclass(frozen=True)
class FineGrid(FineSamples):
    """Fine samples of a search over directions.

    Attributes:
        matrices: ``[rows, 3, 3]`` float64 orientation of every fine row.
        direction_of: ``[slots]`` int64 the coarse direction.
    """

    matrices: Tensor
    direction_of: Tensor


def row_bytes(model: EstepModel) -> int:
    """Memory of one coarse row's children in the table."""
    return int(8**model.sampling.oversampling) * len(model.plane) * 8


def make_fine_grid(model: EstepModel, needed: Tensor, team: Team) -> FineGrid:
    """Slice the children of the coarse rows ``needed`` (distinct, ascending, on the CPU)."""
    order, device = model.sampling.oversampling, model.device
    matrices = model.sampling.orientations(order).matrices(half_turn=True)
    directions, n_psi = model.sampling.orientations().shape
    half_psi, rows_per_class = n_psi // 2, directions * (n_psi // 2)
    class_of = needed // rows_per_class
    within = needed % rows_per_class
    direction, psi = within // half_psi, within % half_psi
    fine_direction = direction[:, None] * 4**order + torch.arange(4**order)
    fine_psi = psi[:, None] * 2**order + torch.arange(2**order)
    chosen = matrices[fine_direction[:, :, None], fine_psi[:, None, :]].reshape(-1, 3, 3)
    children = 8**order
    classes, chosen = class_of.repeat_interleave(children), team.copy(chosen)
    class_of, direction, needed = (values.to(device) for values in (class_of, direction, needed))
    table = project_table(team, model.projectors, classes, chosen, model.plane)
    slot_of = torch.full((model.classes * rows_per_class,), -1, device=device)
    slot_of[needed] = torch.arange(needed.shape[0], device=device)
    shifts = model.sampling.translations(order).to(device)
    ramps = torch.view_as_real(model.plane.phase_ramps(shifts)).movedim(-1, 1).contiguous()
    prior = model.log_prior[class_of, direction].float()
    return FineGrid(
        table=table, slot_of=slot_of, class_of=class_of, children=children, shifts=shifts, shift_children=4**order,
        ramps=ramps, log_prior=prior, matrices=chosen, direction_of=direction,
    )  # fmt: skip
