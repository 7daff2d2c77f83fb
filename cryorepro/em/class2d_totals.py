"""Sums of all chunks of a 2D classification's expectation step, on one process or on many; kept on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.devices.ranks import Ranks
from cryorepro.em.estep_sums import Arrays
from cryorepro.em.fixed_point import from_words, to_words
from cryorepro.em.imageset import ImageSet

GRID = "grid"
"""Begins the names of a chunk's grids; the number of the class follows."""


class PlaneTotals:
    """Adds up what chunks return, in float64 or, where sums are exact, in int64."""

    def __init__(self, model: PlaneModel, images: ImageSet) -> None:
        """Start from zero."""
        self._quanta = model.quanta
        kind = torch.float64 if self._quanta is None else torch.int64
        self._grids = torch.zeros(model.classes, 3, model.grids[0].numel(), dtype=kind)
        empty = empty_plane_sums(model, images)
        self._small = empty if self._quanta is None else {name: to_words(value) for name, value in empty.items()}

    def add(self, part: Arrays) -> None:
        """Add a chunk's sums."""
        for name, values in part.items():
            value = torch.from_numpy(values)
            if name.startswith(GRID):
                self._grids[int(name.removeprefix(GRID))] += self._counted(value)
            else:
                self._small[name] += value if self._quanta is None else to_words(value)

    def _counted(self, grid: Tensor) -> Tensor:
        """A chunk's grid ``[3, cells]`` float32 as whole quanta, if sums are exact."""
        if self._quanta is None:
            return grid
        numerator, weight = self._quanta
        per_quantum = torch.tensor([[1.0 / numerator], [1.0 / numerator], [1.0 / weight]], dtype=torch.float64)
        return (grid.double() * per_quantum).round_().long()

    def combine(self, ranks: Ranks) -> None:
        """Add the sums of all processes; each has them all then."""
        for total in (self._grids, *self._small.values()):
            ranks.sum_(total)

    def small(self) -> dict[str, Tensor]:
        """The sums that are no grids, float64."""
        return self._small if self._quanta is None else {name: from_words(v) for name, v in self._small.items()}

    def grids(self, shape: tuple[int, ...]) -> list[Tensor]:
        """Sums ``[3, rows, columns]`` float64 of every class."""
        made = self._grids.double()
        if self._quanta is not None:
            numerator, weight = self._quanta
            made[:, :2] *= numerator
            made[:, 2] *= weight
        return [grid.reshape(3, *shape) for grid in made]


def empty_plane_sums(model: PlaneModel, images: ImageSet) -> dict[str, Tensor]:
    """The sums that are no grids, zero, by their names; on the CPU."""
    shells = images.box_px // 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "class": (model.classes, 1),
        "class_offset": (model.classes, 2),
        "noise": (images.noise_groups, shells),
        "noise_count": (images.noise_groups,),
        "product": (images.scale_groups, shells),
        "power": (images.scale_groups, shells),
        "offset": (1,),
    }
    return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
