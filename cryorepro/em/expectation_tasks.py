"""The two passes over one chunk of particles, block by block, as tasks of a team."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.coarse_grid import CoarseGrid
from cryorepro.em.coarse_pass import packed_pass, scales_of
from cryorepro.em.coarse_samples import (
    PackedSamples,
    Significant,
    join_samples,
    pack_samples,
    unpack_samples,
)
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.estep_sums import ChunkSums, TaskSums
from cryorepro.em.fine_batch import batches_of
from cryorepro.em.fine_grid import FineGrid
from cryorepro.em.fine_pass import contributions, posterior
from cryorepro.em.fixed_point import check_bound
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.preparation import Prepared, prepare
from cryorepro.em.rotations import matrix_to_euler


@dataclass(frozen=True)
class Step:
    """What both passes share; ``chunks`` are of this process alone, ``apart`` the totals of grids kept on the CPU."""

    poses: Poses
    model: EstepModel
    chunks: list[Tensor]
    apart: list[Tensor] | None = None


@dataclass(frozen=True)
class FineStep:
    """Fine slices for some of the chunks, and these chunks' significant samples."""

    grid: FineGrid
    chunks: list[int]
    significant: list[PackedSamples]


def image_blocks(images: ImageSet, index: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of ``index`` and their images ``[b, n, n]``; the next block is read while one is used."""
    blocks = torch.split(index, size)
    if len(blocks) == 1:
        yield blocks[0], images.read(blocks[0])
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(images.read, blocks[0])
        for number, block in enumerate(blocks):
            pixels = coming.result()
            if number + 1 < len(blocks):
                coming = reader.submit(images.read, blocks[number + 1])
            yield block, pixels


def prepared_blocks(images: ImageSet, step: Step, index: Tensor) -> Iterator[tuple[Tensor, Prepared]]:
    """Indices and prepared images of the blocks of ``index``."""
    for block, pixels in image_blocks(images, index, step.model.plan.block_particles):
        yield block, prepare(images, step.poses, block, step.model.preparation, pixels)


def coarse_task(number: int, images: ImageSet, step: Step, grid: CoarseGrid, first: int) -> PackedSamples:
    """The coarse pass over a chunk, counted from the ``first``."""
    found = []
    for block, prepared in prepared_blocks(images, step, step.chunks[first + number]):
        found.append(_coarse_block(step.model, grid, prepared, scales_of(step.model, images, block), block))
    return join_samples(found)


def _coarse_block(
    model: EstepModel, grid: CoarseGrid, prepared: Prepared, scale: Tensor, index: Tensor
) -> PackedSamples:
    if model.only_class is None:
        return packed_pass(model, grid, prepared, scale, range(model.classes))
    found: dict[int, Significant] = {}
    allowed = model.only_class[index]
    for one in torch.unique(allowed).tolist():
        rows = (allowed == one).nonzero()[:, 0]
        own = rows.to(model.device)
        part = packed_pass(model, grid, prepared.select(own), scale[own], range(one, one + 1))
        found.update(zip(rows.tolist(), unpack_samples(part), strict=True))
    return pack_samples([found[row] for row in range(index.shape[0])])


def fine_task(
    number: int, worker: int, images: ImageSet, step: Step, fine: FineStep, space: list[Tensor]
) -> tuple[TaskSums, Poses]:
    """The fine pass over a chunk: what it adds up to, and the new poses."""
    significant = unpack_samples(fine.significant[number])
    sums = ChunkSums(step.model, fine.grid, images, [grid[worker] for grid in space], step.apart)
    states, done = [], 0
    for block, prepared in prepared_blocks(images, step, step.chunks[fine.chunks[number]]):
        own = significant[done : done + block.shape[0]]
        states.append(_fine_block(images, step, fine.grid, block, prepared, own, sums))
        sums.end_block()
        done += block.shape[0]
    return sums.result(), joined_poses(states)


def _fine_block(
    images: ImageSet,
    step: Step,
    grid: FineGrid,
    index: Tensor,
    prepared: Prepared,
    significant: list[Significant],
    sums: ChunkSums,
) -> Poses:
    model, device, count = step.model, step.model.device, index.shape[0]
    if model.quanta is not None:
        check_bound(prepared)
    scale, on_device = scales_of(model, images, index), index.to(device)
    rows, shift, turned = torch.zeros(3, count, dtype=torch.int64, device=device).unbind()
    residual, probability, evidence = torch.zeros(3, count, dtype=torch.float64, device=device).unbind()
    for batch in batches_of(grid, significant, model.plan.numbers_per_batch):
        at, own, scales = batch.members, prepared.select(batch.members), scale[batch.members]
        post = posterior(model, grid, batch, own, scales)
        parts = contributions(grid, post, own, scales, model.plan.numbers_at_most)
        residual[at] = sums.add(post, parts, own, scales, on_device[at])[:, 1:].sum(dim=1)
        rows[at], turned[at], shift[at] = post.best_row, post.best_turned.long(), post.best_shift
        probability[at], evidence[at] = post.max_probability, post.log_evidence
    # no model has the mean (shell 0); and what a first reference in any grey scale leaves is not known yet
    left = prepared.shell_power[:, 1:].sum(dim=1).double() if model.cross_correlation else residual
    if not model.cross_correlation:
        evidence = evidence + _image_terms(prepared)
    matrices = grid.matrices[rows].cpu()
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    is_turned = turned.cpu() == 1
    matrices[is_turned] = half_turn @ matrices[is_turned]
    spread = (2.0 * left).clamp(min=0.0).sqrt().cpu()
    return Poses(
        euler_deg=matrix_to_euler(matrices),
        origin_px=(prepared.applied_origin + grid.shifts[shift]).cpu(),
        class_index=grid.class_of[rows // grid.children].cpu(),
        max_probability=probability.cpu(),
        log_likelihood=evidence.cpu(),
        significant=torch.tensor([particle.samples for particle in significant]),
        norm=step.poses.norm[index] / model.preparation.average_norm * spread,
    )


def _image_terms(images: Prepared) -> Tensor:
    """``[b]`` the part of the log-likelihood that depends on the image and the noise alone."""
    power = (images.masked.abs().square() * images.inverse_sigma2).sum(dim=1, dtype=torch.float64)
    return -0.5 * power - images.log_normaliser


def joined_poses(parts: list[Poses]) -> Poses:
    """Poses of several parts, one after the other."""
    names = Poses.__dataclass_fields__
    return parts[0] if len(parts) == 1 else Poses(*(torch.cat([getattr(p, name) for p in parts]) for name in names))
