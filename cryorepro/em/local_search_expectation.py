"""The expectation step of a local search: neighbours share slices, and no table of the whole grid exists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.estep_sums import Arrays, poses_from_arrays, poses_to_arrays
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
    coarse_search_apart,
    fine_search,
    make_local_model,
    rows_that_fit,
    share,
)
from cryorepro.em.local_search_sums import LocalSums, joined_poses
from cryorepro.em.local_search_totals import LocalTotals
from cryorepro.em.parallel import map_in_order
from cryorepro.em.preparation import prepare
from cryorepro.em.reconstruction import SliceAccumulator, hermitian
from cryorepro.em.rotations import euler_to_matrix
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
    ranks: Ranks = ALONE,
) -> Expectation:
    """Search each particle at ``index`` (default: all) around its own orientation in ``poses``.

    Args:
        images: all particles.
        poses: current poses of the whole set.
        model: of the iteration; one class.  Its prior on directions is not used.
        symmetry: point group ``[s, 3, 3]``; particles are brought to the asymmetric unit before they are grouped.
        workers: processes; the result has the same bits for any number.
        index: which particles.
        ranks: the processes that share them.

    Returns:
        As :func:`cryorepro.em.expectation.expectation` does, but ``direction_weight`` is ``[1, 1]``, the sum.
    """
    chosen = torch.arange(len(images)) if index is None else index
    local = make_local_model(model)
    centres = into_asymmetric_unit(euler_to_matrix(poses.euler_deg[chosen]), symmetry)
    nearest = _nearest_rows(local.grid, centres, workers)
    grouping = make_grouping(nearest, local.grid.n_psi, model.sampling.healpix_order)
    mine = ranks.share(len(grouping.chunks))

    def task(number: int) -> tuple[Arrays, Arrays]:
        chunk = LocalChunk(images, poses, local, chosen, centres)
        for batch in _batches(grouping, grouping.chunks[mine[number]]):
            chunk.search(batch)
        return chunk.arrays()

    totals = LocalTotals(model, images, int(chosen.shape[0]))
    parts: list[Poses] = []
    for sums, state in map_in_order(task, len(mine), workers if model.device.type == "cpu" else 1):
        totals.add(sums)
        parts.append(poses_from_arrays(state))
    every = [part for found in ranks.gather(parts) for part in found]
    return _result(totals.combined(ranks), every, model, grouping)


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
        projector = local.model.projectors[0]
        self._grid = SliceAccumulator(projector.max_radius, projector.padding, device=local.model.device)
        self._sums = LocalSums(images, poses, local)

    def search(self, groups: list[Tensor]) -> None:
        """Search the particles at the positions of each group, and add them."""
        together = torch.cat(groups)
        index = self._index[together]
        prepared = prepare(self._images, self._poses, index, self._local.model.preparation)
        scale = self._local.model.scale[self._images.scale_group[index]].float().to(self._local.model.device)
        windows = self._local.grid.windows(self._centres[together])
        everything = Group(prepared, scale, windows)
        kept = self._coarse(everything, [int(members.shape[0]) for members in groups])
        found: list[LocalPosterior] = []
        products: list[Tensor] = []
        powers: list[Tensor] = []
        for part in _that_fit(kept, rows_that_fit(self._local)):
            group, own = _part(everything, part), [kept[i] for i in part]
            slices = FineSlices(self._local, torch.unique(torch.cat([particle.rows for particle in own])))
            posteriors = fine_search(self._local, group, own, slices)
            product, power = self._insert(group, posteriors, slices)
            found += posteriors
            products.append(product)
            powers.append(power)
        self._sums.add(index, everything, kept, found, torch.cat(products), torch.cat(powers))

    def _coarse(self, everything: Group, sizes: list[int]) -> list[Kept]:
        """The coarse pass over consecutive groups of these sizes."""
        if max(sizes) == 1:
            return coarse_search_apart(self._local, everything)
        kept: list[Kept] = []
        for size in sizes:
            kept += coarse_search(self._local, _part(everything, range(len(kept), len(kept) + size)))
        return kept

    def _insert(self, group: Group, found: list[LocalPosterior], slices: FineSlices) -> tuple[Tensor, Tensor]:
        """Add the group's slices to the grid; returns per-pixel signal products and reference powers ``[m, n]``."""
        children, pixels = self._local.grid.children, len(self._local.model.plane)
        product, power = torch.zeros(2, len(found), pixels, device=self._local.model.device).unbind()
        for number, block in enumerate(slices.blocks):
            matrices, table = slices.block(number)
            sums = _RowSums(matrices.shape[0], pixels)
            for i, post in enumerate(found):
                coarse = post.rows // children
                use = ((coarse >= block[0]) & (coarse <= block[-1])).nonzero()[:, 0]
                if use.shape[0] == 0:
                    continue
                rows = torch.searchsorted(block, coarse[use]) * children + post.rows[use] % children
                part = share(self._local, group, i, post, use, table[rows.to(table.device)])
                sums.add(rows.to(table.device), part)
                product[i] += part.signal_product
                power[i] += part.reference_power
            sums.insert(self._grid, matrices.to(table.device), self._local.model)
        return product, power

    def arrays(self) -> tuple[Arrays, Arrays]:
        """Sums and poses, ready to be sent to the parent."""
        return self._sums.arrays() | {"grid": self._grid.data.cpu().numpy()}, poses_to_arrays(self._sums.poses())


class _RowSums:
    """Sums on the fine rows of one block, spread over the grid at once."""

    def __init__(self, rows: int, pixels: int) -> None:
        self._size = (rows, pixels)
        self._parts: list[tuple[Tensor, Share]] = []

    def add(self, rows: Tensor, part: Share) -> None:
        self._parts.append((rows, part))

    def insert(self, grid: SliceAccumulator, matrices: Tensor, model: EstepModel) -> None:
        if not self._parts:
            return
        rows, part = self._parts[0]
        numerator, weight = part.numerator, part.weight
        if len(self._parts) > 1:
            rows, numerator, weight = self._summed()
        pixels = self._size[1]
        grid.insert(torch.complex(numerator[:, :pixels], numerator[:, pixels:]), weight, matrices[rows], model.plane)

    def _summed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows that any particle uses, and their sums."""
        device = self._parts[0][1].numerator.device
        numerator = torch.zeros(self._size[0], 2 * self._size[1], device=device)
        weight = torch.zeros(self._size, device=device)
        for rows, part in self._parts:
            numerator.index_add_(0, rows, part.numerator)
            weight.index_add_(0, rows, part.weight)
        used = torch.unique(torch.cat([rows for rows, _ in self._parts]))
        return used, numerator[used], weight[used]


def _part(group: Group, members: Sequence[int]) -> Group:
    """Some particles of a group, in ascending order."""
    rows = torch.tensor(list(members))
    if rows.shape[0] == len(group):
        return group
    there = rows.to(group.scale.device)
    return Group(group.images.select(there), group.scale[there], [group.windows[i] for i in members])


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


def _result(totals: dict[str, Tensor], parts: list[Poses], model: EstepModel, grouping: Grouping) -> Expectation:
    grid = hermitian(totals["grid"].reshape(3, *model.projectors[0].grid_shape).to(model.device))
    return Expectation(
        poses=joined_poses(parts).select(torch.argsort(grouping.order)),
        grids=[grid],
        direction_weight=totals["weight"][None],
        noise=totals["noise"],
        noise_count=totals["noise_count"],
        signal_product=totals["product"],
        reference_power=totals["power"],
        offset_power=float(totals["offset"][0]),
    )
