"""Sums of the expectation step: per class on the padded grid, per group over shells, per particle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.estep_model import EstepModel
from cryorepro.em.fine_grid import FineGrid
from cryorepro.em.fine_pass import Contribution, Posterior
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.preparation import Prepared
from cryorepro.em.reconstruction import SliceAccumulator

# Slices are summed per orientation before they are spread over the grid. Spreading is the dear part when many
# orientations matter, so as many are held as fit here: part of the definition of the result's last bits.
_HELD_BYTES = 1 << 28
_LEAST_ROWS_HELD = 4096
_BYTES_PER_COEFFICIENT = 12
Arrays = dict[str, NDArray[Any]]


class SliceSums:
    """Numerators and weights per fine row, spread over the classes' grids when full and at the end."""

    def __init__(self, model: EstepModel, grid: FineGrid, space: Sequence[Tensor]) -> None:
        """Start empty; ``space`` holds the classes' grids, ``[3, cells]`` each."""
        self._model, self._grid = model, grid
        self._place = torch.full((grid.matrices.shape[0],), -1)
        self._rows: list[Tensor] = []
        self._held = 0
        pixels = len(model.plane)
        self._limit = max(_LEAST_ROWS_HELD, _HELD_BYTES // (_BYTES_PER_COEFFICIENT * pixels))
        # rows are cleared when they are first used: most chunks touch few
        self._numerator = torch.empty(self._limit, 2, pixels)
        self._weight = torch.empty(self._limit, pixels)
        self.grids = [
            SliceAccumulator(p.max_radius, p.padding, data=data)
            for p, data in zip(model.projectors, space, strict=True)
        ]

    def add(self, part: Contribution) -> None:
        """Add what some particles contribute (as many rows at a time as are held)."""
        for start in range(0, part.rows.shape[0], self._limit):
            block = slice(start, start + self._limit)
            self._add_block(part.rows[block], part.numerator[block], part.weight[block])

    def _add_block(self, rows: Tensor, numerator: Tensor, weight: Tensor) -> None:
        fresh = torch.unique(rows[self._place[rows] < 0])
        if self._held + fresh.shape[0] > self._limit:
            self.flush()
            fresh = torch.unique(rows)
        taken = slice(self._held, self._held + int(fresh.shape[0]))
        self._place[fresh] = torch.arange(taken.start, taken.stop)
        self._numerator[taken] = 0.0
        self._weight[taken] = 0.0
        self._rows.append(fresh)
        self._held = taken.stop
        place = self._place[rows]
        self._numerator.index_add_(0, place, numerator)
        self._weight.index_add_(0, place, weight)

    def flush(self) -> None:
        """Spread what is held over the grids."""
        if self._held == 0:
            return
        rows = torch.cat(self._rows)
        classes = self._grid.class_of[rows // self._grid.children]
        for number in torch.unique(classes).tolist():
            use = (classes == number).nonzero()[:, 0]
            numerator = torch.complex(*self._numerator[use].unbind(1))
            matrices = self._grid.matrices[rows[use]]
            self.grids[number].insert(numerator, self._weight[use], matrices, self._model.plane)
        self._place[rows] = -1
        self._rows, self._held = [], 0


class ChunkSums:
    """Everything one chunk of particles adds up to."""

    def __init__(self, model: EstepModel, grid: FineGrid, images: ImageSet, space: Sequence[Tensor]) -> None:
        """Start from zero; the classes' grids are kept in ``space``."""
        self._grid, self._images = grid, images
        self._slices = SliceSums(model, grid, space)
        shells = images.box_px // 2 + 1
        double = torch.float64
        self._in_shell = torch.nn.functional.one_hot(model.plane.shell, shells).double()
        self._directions = torch.zeros(model.classes, model.sampling.pixels.shape[0], dtype=double)
        self._noise = torch.zeros(images.noise_groups, shells, dtype=double)
        self._noise_count = torch.zeros(images.noise_groups, dtype=double)
        self._product = torch.zeros(images.scale_groups, shells, dtype=double)
        self._power = torch.zeros(images.scale_groups, shells, dtype=double)
        self._offset = torch.zeros(1, dtype=double)

    def add(self, post: Posterior, part: Contribution, images: Prepared, scale: Tensor, index: Tensor) -> Tensor:
        """Add a batch of particles, which are at ``index [g]`` of the set.

        Returns their residual power ``[g, shells]`` (half plane, |F|^2).
        """
        self._slices.add(part)
        slot = part.rows // self._grid.children
        where = (self._grid.class_of[slot], self._grid.direction_of[slot])
        self._directions.index_put_(where, part.total.double(), accumulate=True)
        offsets = images.whole_origin[:, None] + self._grid.shifts[post.shifts]
        self._offset += (post.weights.sum(dim=2).double() * offsets.square().sum(dim=2)).sum()
        product, power = (v.double() @ self._in_shell for v in (part.signal_product, part.reference_power))
        each = scale.double()[:, None]
        residual = images.shell_power.double() - 2.0 * each * product + each**2 * power
        noise_group, scale_group = self._images.noise_group[index], self._images.scale_group[index]
        self._noise.index_add_(0, noise_group, residual)
        self._noise_count.index_add_(0, noise_group, torch.ones(index.shape, dtype=torch.float64))
        self._product.index_add_(0, scale_group, product)
        self._power.index_add_(0, scale_group, power)
        return residual

    def arrays(self) -> Arrays:
        """The sums as numpy arrays, ready to be sent to the parent."""
        self._slices.flush()
        sums = {f"grid{i}": grid.data.numpy() for i, grid in enumerate(self._slices.grids)}
        named = {
            "directions": self._directions, "noise": self._noise, "noise_count": self._noise_count,
            "product": self._product, "power": self._power, "offset": self._offset,
        }  # fmt: skip
        return sums | {name: value.numpy() for name, value in named.items()}


def add_arrays(total: Arrays, part: Mapping[str, NDArray[Any]]) -> None:
    """Add a chunk's arrays to the totals in float64, in place."""
    for name, values in part.items():
        if name in total:
            total[name] += values
        else:
            total[name] = values.astype(np.float64)


def poses_to_arrays(poses: Poses) -> Arrays:
    """Poses as numpy arrays by field name."""
    return {name: getattr(poses, name).numpy() for name in poses.__dataclass_fields__}


def poses_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Poses:
    """The inverse of `poses_to_arrays`."""
    return Poses(**{name: torch.from_numpy(arrays[name].copy()) for name in Poses.__dataclass_fields__})
