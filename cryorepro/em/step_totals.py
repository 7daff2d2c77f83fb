"""Sums of all tasks of an expectation step, on one process or on many."""

from __future__ import annotations

import torch
from torch import Tensor

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.ranks import Ranks
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.estep_sums import TaskSums, empty_sums
from cryorepro.em.fixed_point import from_words, to_words
from cryorepro.em.imageset import ImageSet
from cryorepro.em.reconstruction import hermitian


class Totals:
    """Adds up what tasks return, in float64 or, where sums are exact, in int64."""

    def __init__(self, model: EstepModel, images: ImageSet) -> None:
        """Start from zero, on the model's device."""
        self._model = model
        self._exact = model.quanta is not None
        empty = empty_sums(model, images)
        self._small = {name: to_words(value) for name, value in empty.items()} if self._exact else empty
        self._grids: list[Tensor] = self._zero_grids(CPU) if model.plan.grids_apart else []
        self.apart = self._grids if model.plan.grids_apart else None

    def _zero_grids(self, device: torch.device) -> list[Tensor]:
        kind = torch.int64 if self._exact else torch.float64
        return [torch.zeros(3, p.cells, dtype=kind, device=device) for p in self._model.projectors]

    def add(self, part: TaskSums) -> None:
        """Add a task's sums."""
        if self.apart is None and not self._grids:
            self._grids = [grid.to(self._kind(grid), copy=True) for grid in part.grids]
        elif self.apart is None:
            for total, grid in zip(self._grids, part.grids, strict=True):
                total += grid
        for name, value in part.small.items():
            self._small[name] += value

    def _kind(self, grid: Tensor) -> torch.dtype:
        return torch.float64 if grid.is_floating_point() else torch.int64

    def combine(self, ranks: Ranks) -> None:
        """Add the sums of all processes; each has them all then."""
        if ranks.size == 1:
            return
        if not self._grids:  # a process without particles
            self._grids = self._zero_grids(self._model.device)
        for total in (*self._grids, *self._small.values()):
            ranks.sum_(total)

    def small(self) -> dict[str, Tensor]:
        """The sums that are no grids, float64, on the CPU."""
        return {name: (from_words(v) if self._exact else v).cpu() for name, v in self._small.items()}

    def take_grids(self) -> list[Tensor]:
        """Hermitian sums ``[3, 2R + 1, 2R + 1, R + 1]`` float64 of every class, handed over one by one."""
        made = []
        while self._grids:
            grid = self._grids.pop(0)
            if self._model.quanta is not None:
                numerator, weight = self._model.quanta
                grid = grid.double()
                grid[:2] *= numerator
                grid[2] *= weight
            made.append(hermitian(grid.reshape(3, *self._model.projectors[0].grid_shape)))
        return made
