"""The expectation step over all particles: coarse pass, shared fine slices, fine pass, sums.

Particles are cut into chunks of a fixed size, whatever the number of workers. Each chunk returns its own sums, and
the parent adds them in chunk order in float64: the result has the same bits on one worker and on many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.coarse_grid import CoarseGrid, make_coarse_grid
from cryorepro.em.coarse_pass import Significant, class_block_pass, coarse_pass, scales_of
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.estep_sums import Arrays, ChunkSums, add_arrays, poses_from_arrays, poses_to_arrays
from cryorepro.em.fine_batch import batches_of
from cryorepro.em.fine_grid import FineGrid, make_fine_grid, row_bytes
from cryorepro.em.fine_pass import contribution, posterior
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.parallel import map_in_order
from cryorepro.em.preparation import Prepared, prepare
from cryorepro.em.reconstruction import hermitian
from cryorepro.em.rotations import matrix_to_euler

SMALLEST_CHUNK = 128
MOST_CHUNKS = 64
"""Each chunk returns whole grids: their number is bounded, so that large sets do not spend their time on sums."""

TABLE_BYTES = 1 << 31
"""Fine slices held at once; more are made in several rounds over the chunks."""


Packed = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]


@dataclass(frozen=True)
class Expectation:
    """Results of one expectation step over m particles.

    Attributes:
        poses: of the m particles, in the order of the indices given.
        grids: per class, Hermitian sums ``[3, 2R + 1, 2R + 1, R + 1]`` float64 (numerator, weight).
        direction_weight: ``[k, d]`` posterior weight of class and direction; sums to nearly m.
        noise: ``[groups, box / 2 + 1]`` residual power sums, and ``noise_count`` ``[groups]`` particles.
        signal_product, reference_power: ``[scale groups, box / 2 + 1]`` sums for the intensity scales.
        offset_power: sum over particles of the posterior mean of the squared offset, in pixels^2.
    """

    poses: Poses
    grids: list[Tensor]
    direction_weight: Tensor
    noise: Tensor
    noise_count: Tensor
    signal_product: Tensor
    reference_power: Tensor
    offset_power: float


def expectation(
    images: ImageSet,
    poses: Poses,
    model: EstepModel,
    workers: int = 1,
    index: Tensor | None = None,
    chunk_size: int | None = None,
) -> Expectation:
    """Run the expectation step over the particles at ``index`` (default: all).

    ``poses`` are the current poses of the whole set: their whole-pixel origins recentre the images, their norms
    scale them. Give the indices of a half set to refine halves apart.
    """
    chosen = torch.arange(len(images)) if index is None else index
    chunks = list(torch.split(chosen, chunk_size or default_chunk_size(int(chosen.shape[0]))))
    coarse = make_coarse_grid(model, workers)

    def first(number: int) -> list[Packed]:
        found = _coarse_chunk(images, poses, model, coarse, chunks[number])
        return [(s.rows.numpy(), s.turned.numpy(), s.shifts.numpy(), s.pairs.numpy()) for s in found]

    significant = [_unpack(found) for found in map_in_order(first, len(chunks), workers)]
    totals: Arrays = {}
    parts: list[Poses] = []
    for group, needed in _rounds(significant, model):
        fine = make_fine_grid(model, coarse, needed, workers)

        def second(number: int, group: list[int] = group, fine: FineGrid = fine) -> tuple[Arrays, Arrays]:
            chunk = group[number]
            return _fine_chunk(images, poses, model, fine, chunks[chunk], significant[chunk])

        for sums, state in map_in_order(second, len(group), workers):
            add_arrays(totals, sums)
            parts.append(poses_from_arrays(state))
    return _result(totals, parts, model)


def default_chunk_size(count: int) -> int:
    """Particles per chunk for ``count`` particles: part of the result's last bits, so never tied to the machine."""
    return max(SMALLEST_CHUNK, -(-count // MOST_CHUNKS))


def _coarse_chunk(
    images: ImageSet, poses: Poses, model: EstepModel, grid: CoarseGrid, index: Tensor
) -> list[Significant]:
    prepared, scale = prepare(images, poses, index, model.preparation), scales_of(model, images, index)
    if model.only_class is None:
        return coarse_pass(model, grid, prepared, scale)
    found: dict[int, Significant] = {}
    allowed = model.only_class[index]
    for number in torch.unique(allowed).tolist():
        rows = (allowed == number).nonzero()[:, 0]
        part = class_block_pass(model, grid, prepared.select(rows), scale[rows], range(number, number + 1))
        found.update(zip(rows.tolist(), part, strict=True))
    return [found[row] for row in range(index.shape[0])]


def _unpack(found: list[Packed]) -> list[Significant]:
    return [Significant(*(torch.from_numpy(values) for values in parts)) for parts in found]


def _rounds(significant: list[list[Significant]], model: EstepModel) -> list[tuple[list[int], Tensor]]:
    """Group consecutive chunks so that each group's fine slices fit in the table."""
    limit = max(1, TABLE_BYTES // row_bytes(model))
    rounds: list[tuple[list[int], Tensor]] = []
    group: list[int] = []
    needed = torch.empty(0, dtype=torch.int64)
    for number, chunk in enumerate(significant):
        own = torch.unique(torch.cat([particle.rows for particle in chunk]))
        union = torch.unique(torch.cat([needed, own]))
        if group and union.shape[0] > limit:
            rounds.append((group, needed))
            group, union = [], own
        group.append(number)
        needed = union
    rounds.append((group, needed))
    return rounds


def _fine_chunk(
    images: ImageSet,
    poses: Poses,
    model: EstepModel,
    grid: FineGrid,
    index: Tensor,
    significant: list[Significant],
) -> tuple[Arrays, Arrays]:
    prepared, scale = prepare(images, poses, index, model.preparation), scales_of(model, images, index)
    sums = ChunkSums(model, grid, images)
    count = index.shape[0]
    rows, turned = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
    shift, residual = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.float64)
    probability, evidence = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for batch in batches_of(grid, significant):
        at, own, scales = batch.members, prepared.select(batch.members), scale[batch.members]
        post = posterior(model, grid, batch, own, scales)
        part = contribution(grid, post, own, scales)
        residual[at] = sums.add(post, part, own, scales, index[at])[:, 1:].sum(dim=1)
        rows[at], turned[at], shift[at] = post.best_row, post.best_turned, post.best_shift
        probability[at], evidence[at] = post.max_probability, post.log_evidence
    matrices = grid.matrices[rows]
    matrices[turned] = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)) @ matrices[turned]
    # no model has the mean (shell 0); and what a first reference in any grey scale leaves is not known yet
    left = prepared.shell_power[:, 1:].sum(dim=1).double() if model.cross_correlation else residual
    norm = poses.norm[index] / model.preparation.average_norm * (2.0 * left).clamp(min=0.0).sqrt()
    state = Poses(
        euler_deg=matrix_to_euler(matrices),
        origin_px=prepared.whole_origin + grid.shifts[shift],
        class_index=grid.class_of[rows // grid.children],
        max_probability=probability,
        log_likelihood=evidence if model.cross_correlation else evidence + _image_terms(prepared),
        significant=torch.tensor([particle.samples for particle in significant]),
        norm=norm,
    )
    return sums.arrays(), poses_to_arrays(state)


def _image_terms(images: Prepared) -> Tensor:
    """``[b]`` the part of the log-likelihood that depends on the image and the noise alone."""
    power = (images.masked.abs().square() * images.inverse_sigma2).sum(dim=1, dtype=torch.float64)
    return -0.5 * power - images.log_normaliser


def _result(totals: Arrays, parts: list[Poses], model: EstepModel) -> Expectation:
    shape = [2 * (model.projectors[0].grid.shape[-1] - 1) + 1] * 2 + [model.projectors[0].grid.shape[-1]]
    grids = [hermitian(torch.from_numpy(totals[f"grid{i}"]).reshape(3, *shape)) for i in range(model.classes)]
    merged = {name: torch.cat([getattr(part, name) for part in parts]) for name in Poses.__dataclass_fields__}
    return Expectation(
        poses=Poses(**merged),
        grids=grids,
        direction_weight=torch.from_numpy(totals["directions"]),
        noise=torch.from_numpy(totals["noise"]),
        noise_count=torch.from_numpy(totals["noise_count"]),
        signal_product=torch.from_numpy(totals["product"]),
        reference_power=torch.from_numpy(totals["power"]),
        offset_power=float(totals["offset"][0]),
    )
