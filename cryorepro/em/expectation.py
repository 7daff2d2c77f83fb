"""The expectation step over all particles: coarse pass, shared fine slices, fine pass, sums.

Particles are cut into chunks of a fixed size, whatever the number of workers. Each chunk returns its own sums, and
the parent adds them in chunk order in float64: the result has the same bits on one worker and on many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.coarse_grid import CoarseGrid, make_coarse_grid
from cryorepro.em.coarse_pass import (
    PackedSamples,
    Significant,
    class_block_pass,
    coarse_pass,
    pack_samples,
    scales_of,
    unpack_samples,
)
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.estep_sums import Arrays, ChunkSums, add_arrays, poses_from_arrays, poses_to_arrays
from cryorepro.em.fine_batch import batches_of
from cryorepro.em.fine_grid import FineGrid, make_fine_grid, row_bytes
from cryorepro.em.fine_pass import contribution, posterior
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.preparation import Prepared, prepare
from cryorepro.em.reconstruction import hermitian
from cryorepro.em.rotations import matrix_to_euler
from cryorepro.em.team import Team

SMALLEST_CHUNK = 250
MOST_CHUNKS = 64
"""Each chunk returns whole grids: their number is bounded, so that large sets do not spend their time on sums."""

TABLE_BYTES = 1 << 31
"""Fine slices held at once; more are made in several rounds over the chunks."""


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
    team: Team | None = None,
) -> Expectation:
    """Run the expectation step over the particles at ``index`` (default: all).

    ``poses`` are the current poses of the whole set: their whole-pixel origins recentre the images, their norms
    scale them. Give the indices of a half set to refine halves apart. A ``team`` from `make_team` for the same images
    saves forking ``workers`` for every step.
    """
    if team is None:
        with make_team(images, workers) as own:
            return expectation(images, poses, model, workers, index, chunk_size, own)
    chosen = torch.arange(len(images)) if index is None else index
    chunks = list(torch.split(chosen, chunk_size or default_chunk_size(int(chosen.shape[0]))))
    everything = team.used
    model = replace(model, projectors=tuple(p.moved(team.copy) for p in model.projectors))
    team.share("step", Step(poses, model, chunks))
    found = _significant_chunks(model, team, len(chunks))
    totals: Arrays = {}
    parts: list[Poses] = []
    space = [team.empty((team.workers, 3, p.cells)) for p in model.projectors]
    team.share("space", space)
    before = team.used
    for group, needed in _rounds(found, model):
        fine = make_fine_grid(model, needed, team)
        team.share("fine", FineStep(fine, group, [found[number] for number in group]))
        for sums, state in team.map(_fine_task, len(group), "worker", "images", "step", "fine", "space"):
            add_arrays(totals, sums)
            parts.append(poses_from_arrays(state))
        team.release(before)
    team.release(everything)
    return _result(totals, parts, model)


def make_team(images: ImageSet, workers: int) -> Team:
    """Workers for any number of expectation steps over these images."""
    return Team(workers, {"images": images})


def default_chunk_size(count: int) -> int:
    """Particles per chunk for ``count`` particles: part of the result's last bits, so never tied to the machine."""
    return max(SMALLEST_CHUNK, -(-count // MOST_CHUNKS))


@dataclass(frozen=True)
class Step:
    """What both passes share."""

    poses: Poses
    model: EstepModel
    chunks: list[Tensor]


@dataclass(frozen=True)
class FineStep:
    """Fine slices for some of the chunks, and these chunks' significant samples."""

    grid: FineGrid
    chunks: list[int]
    significant: list[PackedSamples]


def _significant_chunks(model: EstepModel, team: Team, chunks: int) -> list[PackedSamples]:
    """The coarse pass over every chunk."""
    before = team.used
    team.share("coarse", make_coarse_grid(model, team))
    found = list(team.map(_coarse_task, chunks, "images", "step", "coarse"))
    team.release(before)
    return found


def _coarse_task(number: int, images: ImageSet, step: Step, grid: CoarseGrid) -> PackedSamples:
    model, index = step.model, step.chunks[number]
    prepared, scale = prepare(images, step.poses, index, model.preparation), scales_of(model, images, index)
    if model.only_class is None:
        return pack_samples(coarse_pass(model, grid, prepared, scale))
    found: dict[int, Significant] = {}
    allowed = model.only_class[index]
    for one in torch.unique(allowed).tolist():
        rows = (allowed == one).nonzero()[:, 0]
        part = class_block_pass(model, grid, prepared.select(rows), scale[rows], range(one, one + 1))
        found.update(zip(rows.tolist(), part, strict=True))
    return pack_samples([found[row] for row in range(index.shape[0])])


def _rounds(found: list[PackedSamples], model: EstepModel) -> list[tuple[list[int], Tensor]]:
    """Group consecutive chunks so that each group's fine slices fit in the table."""
    limit = max(1, TABLE_BYTES // row_bytes(model))
    rounds: list[tuple[list[int], Tensor]] = []
    group: list[int] = []
    needed = torch.empty(0, dtype=torch.int64)
    for number, chunk in enumerate(found):
        own = torch.unique(chunk.rows)
        union = torch.unique(torch.cat([needed, own]))
        if group and union.shape[0] > limit:
            rounds.append((group, needed))
            group, union = [], own
        group.append(number)
        needed = union
    rounds.append((group, needed))
    return rounds


def _fine_task(
    number: int, worker: int, images: ImageSet, step: Step, fine: FineStep, space: list[Tensor]
) -> tuple[Arrays, Arrays]:
    index, significant = step.chunks[fine.chunks[number]], unpack_samples(fine.significant[number])
    own = [grid[worker] for grid in space]
    return _fine_chunk(images, step.poses, step.model, fine.grid, index, significant, own)


def _fine_chunk(
    images: ImageSet,
    poses: Poses,
    model: EstepModel,
    grid: FineGrid,
    index: Tensor,
    significant: list[Significant],
    space: list[Tensor],
) -> tuple[Arrays, Arrays]:
    prepared, scale = prepare(images, poses, index, model.preparation), scales_of(model, images, index)
    sums = ChunkSums(model, grid, images, space)
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
    shape = model.projectors[0].grid.shape
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
