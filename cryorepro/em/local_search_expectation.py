"""The expectation step of a local search: neighbours share slices, and no table of the whole grid exists."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.estep_model import EstepModel
from cryorepro.em.estep_sums import Arrays, add_arrays, poses_from_arrays, poses_to_arrays
from cryorepro.em.expectation import Expectation
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.local_search import LocalGrid
from cryorepro.em.local_search_groups import Grouping, make_grouping
from cryorepro.em.local_search_pass import (
    FineSlices,
    Group,
    Kept,
    LocalModel,
    LocalPosterior,
    Share,
    coarse_search,
    fine_search,
    make_local_model,
    rows_that_fit,
    share,
)
from cryorepro.em.parallel import map_in_order
from cryorepro.em.preparation import Prepared, prepare
from cryorepro.em.reconstruction import SliceAccumulator, hermitian
from cryorepro.em.rotations import euler_to_matrix, matrix_to_euler
from cryorepro.em.sampling import into_asymmetric_unit

_PREPARED_TOGETHER = 64
_CENTRES_PER_TASK = 2048


def local_expectation(
    images: ImageSet,
    poses: Poses,
    model: EstepModel,
    symmetry: Tensor,
    workers: int = 1,
    index: Tensor | None = None,
) -> Expectation:
    """Search each particle at ``index`` (default: all) around its own orientation in ``poses``.

    Args:
        images: all particles.
        poses: current poses of the whole set.
        model: of the iteration; one class.  Its prior on directions is not used.
        symmetry: point group ``[s, 3, 3]``; particles are brought to the asymmetric unit before they are grouped.
        workers: processes; the result has the same bits for any number.
        index: which particles.

    Returns:
        As :func:`cryorepro.em.expectation.expectation` does, but ``direction_weight`` is ``[1, 1]``, the sum.
    """
    chosen = torch.arange(len(images)) if index is None else index
    local = make_local_model(model)
    centres = into_asymmetric_unit(euler_to_matrix(poses.euler_deg[chosen]), symmetry)
    nearest = _nearest_rows(local.grid, centres, workers)
    grouping = make_grouping(nearest, local.grid.n_psi, model.sampling.healpix_order)

    def task(number: int) -> tuple[Arrays, Arrays]:
        chunk = LocalChunk(images, poses, local, chosen, centres)
        for batch in _batches(grouping, grouping.chunks[number]):
            chunk.search(batch)
        return chunk.arrays()

    totals: Arrays = {}
    parts: list[Poses] = []
    for sums, state in map_in_order(task, len(grouping.chunks), workers):
        add_arrays(totals, sums)
        parts.append(poses_from_arrays(state))
    return _result(totals, parts, model, grouping)


def _nearest_rows(grid: LocalGrid, centres: Tensor, workers: int) -> Tensor:
    def task(number: int) -> NDArray[np.int64]:
        block = centres[number * _CENTRES_PER_TASK : (number + 1) * _CENTRES_PER_TASK]
        return np.array([window.nearest for window in grid.windows(block)], dtype=np.int64)

    parts = map_in_order(task, -(-centres.shape[0] // _CENTRES_PER_TASK), workers)
    return torch.from_numpy(np.concatenate(list(parts)))


def _batches(grouping: Grouping, chunk: range) -> list[list[Tensor]]:
    """Groups of a chunk, a few together, so that their images are prepared together."""
    batches: list[list[Tensor]] = [[]]
    held = 0
    for number in chunk:
        members = grouping.members(number)
        if held + members.shape[0] > _PREPARED_TOGETHER and batches[-1]:
            batches.append([])
            held = 0
        batches[-1].append(members)
        held += int(members.shape[0])
    return batches


class LocalChunk:
    """One worker's task: poses of its particles, and everything they add up to."""

    def __init__(self, images: ImageSet, poses: Poses, local: LocalModel, index: Tensor, centres: Tensor) -> None:
        """Start from zero; ``index`` and ``centres`` are of all particles of the step."""
        self._images, self._poses, self._local = images, poses, local
        self._index, self._centres = index, centres
        projector, shells, double = local.model.projectors[0], images.box_px // 2 + 1, torch.float64
        self._grid = SliceAccumulator(projector.max_radius, projector.padding)
        self._sums = {
            "noise": torch.zeros(images.noise_groups, shells, dtype=double),
            "noise_count": torch.zeros(images.noise_groups, dtype=double),
            "product": torch.zeros(images.scale_groups, shells, dtype=double),
            "power": torch.zeros(images.scale_groups, shells, dtype=double),
            "offset": torch.zeros(1, dtype=double),
            "weight": torch.zeros(1, dtype=double),
        }
        self._states: list[Poses] = []

    def search(self, groups: list[Tensor]) -> None:
        """Search the particles at the positions of each group, and add them."""
        together = torch.cat(groups)
        prepared = prepare(self._images, self._poses, self._index[together], self._local.model.preparation)
        place = 0
        for members in groups:
            rows = torch.arange(place, place + members.shape[0])
            self._search_group(members, prepared.select(rows))
            place += int(members.shape[0])

    def _search_group(self, members: Tensor, prepared: Prepared) -> None:
        index = self._index[members]
        scale = self._local.model.scale[self._images.scale_group[index]].float()
        group = Group(prepared, scale, self._local.grid.windows(self._centres[members]))
        kept = coarse_search(self._local, group)
        for part in _that_fit(kept, rows_that_fit(self._local)):
            chosen = torch.tensor(part)
            smaller = Group(prepared.select(chosen), scale[chosen], [group.windows[i] for i in part])
            self._finish(index[chosen], smaller, [kept[i] for i in part])

    def _finish(self, index: Tensor, group: Group, kept: list[Kept]) -> None:
        slices = FineSlices(self._local, torch.unique(torch.cat([part.rows for part in kept])))
        found = fine_search(self._local, group, kept, slices)
        product, power = self._insert(group, found, slices)
        residual = [self._account(index, group, i, found[i], product[i], power[i]) for i in range(len(found))]
        self._states.append(self._state(index, group, kept, found, torch.stack(residual)))

    def _insert(self, group: Group, found: list[LocalPosterior], slices: FineSlices) -> tuple[Tensor, Tensor]:
        """Add the group's slices to the grid; returns per-pixel signal products and reference powers ``[m, n]``."""
        children, pixels = self._local.grid.children, len(self._local.model.plane)
        product, power = torch.zeros(len(found), pixels), torch.zeros(len(found), pixels)
        for number, block in enumerate(slices.blocks):
            matrices, table = slices.block(number)
            sums = _RowSums(matrices.shape[0], pixels)
            for i, post in enumerate(found):
                coarse = post.rows // children
                use = ((coarse >= block[0]) & (coarse <= block[-1])).nonzero()[:, 0]
                if use.shape[0] == 0:
                    continue
                rows = torch.searchsorted(block, coarse[use]) * children + post.rows[use] % children
                part = share(self._local, group, i, post, use, table[rows])
                sums.add(rows, part)
                product[i] += part.signal_product
                power[i] += part.reference_power
            sums.insert(self._grid, matrices, self._local.model)
        return product, power

    def _account(
        self, index: Tensor, group: Group, i: int, post: LocalPosterior, product: Tensor, power: Tensor
    ) -> Tensor:
        """Add one particle's noise, scale and offset sums; returns its residual power beyond the origin."""
        particle, model, scale = index[i], self._local.model, float(group.scale[i])
        shells = self._sums["noise"].shape[1]
        per_shell = [
            torch.zeros(shells, dtype=torch.float64).index_add_(0, model.plane.shell, values.double())
            for values in (product, power)
        ]
        residual = group.images.shell_power[i].double() - 2.0 * scale * per_shell[0] + scale**2 * per_shell[1]
        noise, of_scale = self._images.noise_group[particle], self._images.scale_group[particle]
        self._sums["noise"][noise] += residual
        self._sums["noise_count"][noise] += 1.0
        self._sums["product"][of_scale] += per_shell[0]
        self._sums["power"][of_scale] += per_shell[1]
        weights = post.weights.sum(dim=1).double()
        offsets = group.images.whole_origin[i] + self._local.fine_shifts[post.shifts]
        self._sums["offset"] += (weights * (offsets**2).sum(dim=1)).sum()
        self._sums["weight"] += weights.sum()
        return residual[1:].sum()

    def _state(
        self, index: Tensor, group: Group, kept: list[Kept], found: list[LocalPosterior], residual: Tensor
    ) -> Poses:
        children, model, images = self._local.grid.children, self._local.model, group.images
        best = torch.tensor([post.best for post in found])
        row, shift = best.unbind(1)
        every = self._local.grid.fine_matrices(row // children).reshape(-1, children, 3, 3)
        matrices = every[torch.arange(row.shape[0]), row % children]
        power = (images.masked.abs().square() * images.inverse_sigma2).sum(dim=1, dtype=torch.float64)
        evidence = torch.tensor([post.log_evidence for post in found], dtype=torch.float64)
        norm = self._poses.norm[index] / model.preparation.average_norm * (2.0 * residual).clamp(min=0.0).sqrt()
        return Poses(
            euler_deg=matrix_to_euler(matrices),
            origin_px=images.whole_origin + self._local.fine_shifts[shift],
            class_index=torch.zeros(row.shape[0], dtype=torch.int64),
            max_probability=torch.tensor([post.max_probability for post in found], dtype=torch.float64),
            log_likelihood=evidence - 0.5 * power - images.log_normaliser,
            significant=torch.tensor([int(part.pairs.sum()) for part in kept]),
            norm=norm,
        )

    def arrays(self) -> tuple[Arrays, Arrays]:
        """Sums and poses, ready to be sent to the parent."""
        sums = {name: value.numpy() for name, value in self._sums.items()} | {"grid": self._grid.data.numpy()}
        return sums, poses_to_arrays(_joined(self._states))


class _RowSums:
    """Sums on the fine rows of one block, spread over the grid at once."""

    def __init__(self, rows: int, pixels: int) -> None:
        self._numerator = torch.zeros(rows, 2 * pixels)
        self._weight = torch.zeros(rows, pixels)
        self._touched = torch.zeros(rows, dtype=torch.bool)

    def add(self, rows: Tensor, part: Share) -> None:
        self._numerator.index_add_(0, rows, torch.view_as_real(part.numerator).flatten(1))
        self._weight.index_add_(0, rows, part.weight)
        self._touched[rows] = True

    def insert(self, grid: SliceAccumulator, matrices: Tensor, model: EstepModel) -> None:
        rows = self._touched.nonzero()[:, 0]
        if rows.shape[0] > 0:
            numerator = torch.view_as_complex(self._numerator[rows].reshape(rows.shape[0], -1, 2))
            grid.insert(numerator, self._weight[rows], matrices[rows], model.plane)


def _that_fit(kept: list[Kept], limit: int) -> list[list[int]]:
    """Particles in runs whose distinct rows number at most ``limit`` (one particle may have more)."""
    runs: list[list[int]] = [[]]
    union = torch.empty(0, dtype=torch.int64)
    for i, part in enumerate(kept):
        union = torch.unique(torch.cat([union, part.rows]))
        if runs[-1] and union.shape[0] > limit:
            runs.append([])
            union = part.rows
        runs[-1].append(i)
    return runs


def _joined(parts: list[Poses]) -> Poses:
    merged = {name: torch.cat([getattr(part, name) for part in parts]) for name in Poses.__dataclass_fields__}
    return Poses(**merged)


def _result(totals: dict[str, NDArray[Any]], parts: list[Poses], model: EstepModel, grouping: Grouping) -> Expectation:
    radius = model.projectors[0].grid.shape[-1] - 1
    side = 2 * radius + 1
    grid = hermitian(torch.from_numpy(totals["grid"]).reshape(3, side, side, radius + 1))
    return Expectation(
        poses=_joined(parts).select(torch.argsort(grouping.order)),
        grids=[grid],
        direction_weight=torch.from_numpy(totals["weight"])[None],
        noise=torch.from_numpy(totals["noise"]),
        noise_count=torch.from_numpy(totals["noise_count"]),
        signal_product=torch.from_numpy(totals["product"]),
        reference_power=torch.from_numpy(totals["power"]),
        offset_power=float(totals["offset"][0]),
    )
