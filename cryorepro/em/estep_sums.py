"""Sums of the expectation step: per class on the padded grid, per group over shells, per particle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.estep_model import EstepModel
from cryorepro.em.fine_grid import FineGrid
from cryorepro.em.fine_pass import Contribution, Posterior
from cryorepro.em.fixed_point import FixedAccumulator, to_words
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.preparation import Prepared
from cryorepro.em.reconstruction import SliceAccumulator

# Slices are summed per orientation before they are spread over the grid. Spreading is the dear part when many
# orientations matter, so as many are held as the plan allows, but at least so many.
_LEAST_ROWS_HELD = 512
_PIXELS_SPREAD = 1 << 22
BYTES_PER_COEFFICIENT = 12
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TaskSums:
    """What a task adds up to.

    Attributes:
        grids: per class ``[3, cells]``: float32, or int64 quanta where sums are exact; none where they are kept apart.
        small: named sums: float64, or int64 words ``[4, ...]``.
    """

    grids: list[Tensor]
    small: dict[str, Tensor]


class SliceSums:
    """Numerators and weights per fine row, spread over the classes' grids when full and at the end."""

    def __init__(
        self, model: EstepModel, grid: FineGrid, space: Sequence[Tensor], apart: list[Tensor] | None = None
    ) -> None:
        """Start empty; ``space`` holds the classes' grids, ``[3, cells]`` each.

        With grids ``apart`` it holds a single one, in which the classes take turns before they are added to those.
        """
        self._space, self._apart = space, apart
        self._model, self._grid = model, grid
        device, pixels = model.device, len(model.plane)
        self._place = torch.full((grid.matrices.shape[0],), -1, device=device)
        self._rows: list[Tensor] = []
        self._held = 0
        self._limit = rows_held(model.plan.held_bytes, pixels)
        # rows are cleared when they are first used: most chunks touch few
        self._numerator = torch.empty(self._limit, 2, pixels, device=device)
        self._weight = torch.empty(self._limit, pixels, device=device)
        every = enumerate(space) if apart is None else ()
        self.grids = [_accumulator(model, number, data) for number, data in every]

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
        self._place[fresh] = torch.arange(taken.start, taken.stop, device=rows.device)
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
            alone = self._apart is not None
            into = _accumulator(self._model, number, self._space[0]) if alone else self.grids[number]
            for use in torch.split((classes == number).nonzero()[:, 0], _rows_spread(len(self._model.plane))):
                numerator = torch.complex(*self._numerator[use].unbind(1))
                matrices = self._grid.matrices[rows[use]]
                into.insert(numerator, self._weight[use], matrices, self._model.plane)
            if self._apart is not None:
                self._apart[number] += into.data.cpu()
        self._place[rows] = -1
        self._rows, self._held = [], 0


def _rows_spread(pixels: int) -> int:
    """Rows that are copied together when they are spread."""
    return max(1, _PIXELS_SPREAD // pixels)


def rows_held(held_bytes: int, pixels: int) -> int:
    """Fine rows whose sums are held before they are spread."""
    return max(_LEAST_ROWS_HELD, held_bytes // (BYTES_PER_COEFFICIENT * pixels))


def _accumulator(model: EstepModel, number: int, data: Tensor) -> SliceAccumulator:
    projector = model.projectors[number]
    if model.quanta is None:
        return SliceAccumulator(projector.max_radius, projector.padding, data=data)
    return FixedAccumulator(projector.max_radius, model.quanta, data, projector.padding)


class ChunkSums:
    """Everything one chunk of particles adds up to."""

    def __init__(
        self,
        model: EstepModel,
        grid: FineGrid,
        images: ImageSet,
        space: Sequence[Tensor],
        apart: list[Tensor] | None = None,
    ) -> None:
        """Start from zero; the classes' grids are kept in ``space``, or added to those ``apart`` (`SliceSums`)."""
        self._grid = grid
        self._exact = model.quanta is not None
        self._slices = SliceSums(model, grid, space, apart)
        device = model.device
        self._in_shell = torch.nn.functional.one_hot(model.plane.shell, images.box_px // 2 + 1).double()
        self._noise_group, self._scale_group = images.noise_group.to(device), images.scale_group.to(device)
        self._sums = empty_sums(model, images)
        self._words = {name: to_words(value) for name, value in self._sums.items()} if self._exact else {}

    def add(
        self, post: Posterior, parts: Iterable[Contribution], images: Prepared, scale: Tensor, index: Tensor
    ) -> Tensor:
        """Add a batch of particles, which are at ``index [g]`` of the set, from what some rows after others contribute.

        Returns their residual power ``[g, shells]`` (half plane, |F|^2).
        """
        sums = self._sums
        product = power = torch.zeros((), dtype=torch.float64, device=scale.device)
        for part in parts:
            self._slices.add(part)
            slot = part.rows // self._grid.children
            where = (self._grid.class_of[slot], self._grid.direction_of[slot])
            sums["directions"].index_put_(where, part.total.double(), accumulate=True)
            product = product + part.signal_product.double() @ self._in_shell
            power = power + part.reference_power.double() @ self._in_shell
        offsets = images.applied_origin[:, None] + self._grid.shifts[post.shifts]
        sums["offset"] += (post.weights.sum(dim=2).double() * offsets.square().sum(dim=2)).sum()
        each = scale.double()[:, None]
        residual = images.shell_power.double() - 2.0 * each * product + each**2 * power
        noise_group, scale_group = self._noise_group[index], self._scale_group[index]
        sums["noise"].index_add_(0, noise_group, residual)
        sums["noise_count"].index_add_(0, noise_group, torch.ones_like(scale, dtype=torch.float64))
        sums["product"].index_add_(0, scale_group, product)
        sums["power"].index_add_(0, scale_group, power)
        return residual

    def end_block(self) -> None:
        """A block of particles is complete: where sums are exact, it is added as a whole."""
        if not self._exact:
            return
        self._slices.flush()
        for name, value in self._sums.items():
            self._words[name] += to_words(value)
            value.zero_()

    def result(self) -> TaskSums:
        """The sums."""
        self._slices.flush()
        return TaskSums([grid.data for grid in self._slices.grids], self._words if self._exact else self._sums)


def empty_sums(model: EstepModel, images: ImageSet) -> dict[str, Tensor]:
    """The sums that are no grids, zero, by their names."""
    shells = images.box_px // 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "directions": (model.classes, int(model.sampling.pixels.shape[0])),
        "noise": (images.noise_groups, shells),
        "noise_count": (images.noise_groups,),
        "product": (images.scale_groups, shells),
        "power": (images.scale_groups, shells),
        "offset": (1,),
    }
    return {name: torch.zeros(shape, dtype=torch.float64, device=model.device) for name, shape in shapes.items()}


def poses_to_arrays(poses: Poses) -> Arrays:
    """Poses as numpy arrays by field name."""
    return {name: getattr(poses, name).numpy() for name in poses.__dataclass_fields__}


def poses_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Poses:
    """The inverse of `poses_to_arrays`."""
    return Poses(**{name: torch.from_numpy(arrays[name].copy()) for name in Poses.__dataclass_fields__})
