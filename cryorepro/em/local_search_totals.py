"""Sums of all chunks of a local search, on one process or on many."""

from __future__ import annotations

import torch
from torch import Tensor

from cryorepro.em.devices.ranks import Ranks
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.estep_sums import Arrays
from cryorepro.em.fixed_point import from_words, step_quanta, to_words
from cryorepro.em.imageset import ImageSet


class LocalTotals:
    """Adds up chunks in float64; with an exact plan as whole numbers of quanta, in any order the same bits.

    A chunk's own sums do not depend on who makes them: chunks are the job's.
    """

    def __init__(self, model: EstepModel, images: ImageSet, count: int) -> None:
        """Start from zero, for ``count`` particles."""
        shells = images.box_px // 2 + 1
        shapes = {
            "noise": (images.noise_groups, shells), "noise_count": (images.noise_groups,), "offset": (1,),
            "product": (images.scale_groups, shells), "power": (images.scale_groups, shells), "weight": (1,),
        }  # fmt: skip
        self._quanta: Tensor | None = None
        if model.plan.exact:
            numerator, weight = step_quanta(model, count)
            self._quanta = torch.tensor([numerator, numerator, weight], dtype=torch.float64)[:, None]
        small = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        self._sums = {name: self._kept(name, value) for name, value in small.items()}
        kind = torch.float64 if self._quanta is None else torch.int64
        self._sums["grid"] = torch.zeros(3, model.projectors[0].cells, dtype=kind)

    def _kept(self, name: str, values: Tensor) -> Tensor:
        if self._quanta is None:
            return values
        return torch.round(values.double() / self._quanta).long() if name == "grid" else to_words(values)

    def add(self, part: Arrays) -> None:
        """Add a chunk's sums."""
        for name, values in part.items():
            self._sums[name] += self._kept(name, torch.from_numpy(values))

    def combined(self, ranks: Ranks) -> dict[str, Tensor]:
        """The sums of all processes, float64."""
        for values in self._sums.values():
            ranks.sum_(values)
        if self._quanta is None:
            return self._sums
        small = {name: from_words(values) for name, values in self._sums.items() if name != "grid"}
        return small | {"grid": self._sums["grid"].double() * self._quanta}
