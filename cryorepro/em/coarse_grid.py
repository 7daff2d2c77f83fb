"""Slices of the coarse orientations, folded so that one product serves four orientations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.estep_model import EstepModel, project_table
from cryorepro.em.mirror_fold import BaseRows, Fold, base_rows, make_fold
from cryorepro.em.team import Team


@dataclass(frozen=True)
class CoarseGrid:
    """Folded slices; rows run over class, direction, first half of the in-plane angles.

    Attributes:
        parts: folded slices ``[k * base.count, n_i]`` float32 of every class, ``power_parts`` of their squares.
        base: which orientations these are, and what their mirror images and half turns stand for.
        fold: the order of the pixels in the parts.
        ramps: ``[t, n]`` of the shifts ``[t, 2]`` in pixels, in that order.
        directions, half_psi: size of the grid, 180-degree mates not counted.
    """

    parts: list[Tensor]
    power_parts: list[Tensor]
    base: BaseRows
    fold: Fold
    ramps: Tensor
    shifts: Tensor
    directions: int
    half_psi: int

    @property
    def rows_per_class(self) -> int:
        """Orientations of one class, 180-degree mates not counted."""
        return self.directions * self.half_psi


def make_coarse_grid(model: EstepModel, team: Team) -> CoarseGrid:
    """Slice every reference at every coarse orientation that is not the image of another, for a team to share."""
    orientations = model.sampling.orientations()
    directions, n_psi = orientations.shape
    device = model.device
    on_host = base_rows(orientations)
    matrices = orientations.matrices(half_turn=True)[on_host.direction, on_host.psi].to(device)
    base = on_host.to(device)
    classes = torch.arange(model.classes).repeat_interleave(base.count)
    plane = model.plane.prefix(model.plane.coarse_length(model.coarse_shell))
    fold = make_fold(plane, base.mirrored)
    table = project_table(
        team, model.projectors, classes, matrices.repeat(model.classes, 1, 1), plane.select(fold.order)
    )
    real, imaginary = table.values.unbind(1)
    shifts = model.sampling.translations().to(device)
    return CoarseGrid(
        parts=[team.copy(part) for part in fold.parts(torch.complex(real, imaginary), of_table=True)],
        power_parts=[team.copy(part) for part in fold.power_parts(real**2 + imaginary**2, of_table=True)],
        base=base,
        fold=fold,
        ramps=plane.phase_ramps(shifts)[:, fold.order],
        shifts=shifts,
        directions=directions,
        half_psi=n_psi // 2,
    )
