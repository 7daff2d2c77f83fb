"""The expectation step over all particles: coarse pass, shared fine slices, fine pass, sums.

Particles are cut into chunks. Each chunk returns its own sums, and the parent adds them in chunk order in float64: the
result has the same bits on one worker and on many. With an exact plan sums are whole numbers of quanta, block by block:
the result then has the same bits for any number of workers and processes, and for any size of chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.coarse_grid import make_coarse_grid
from cryorepro.em.coarse_samples import PackedSamples
from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.halving import with_what_fits
from cryorepro.em.devices.plan import Plan
from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation_tasks import FineStep, Step, coarse_task, fine_task, joined_poses
from cryorepro.em.fine_grid import make_fine_grid, row_bytes
from cryorepro.em.fixed_point import step_quanta
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.step_totals import Totals
from cryorepro.em.team import Team

SMALLEST_CHUNK = 250
MOST_CHUNKS = 64
"""Each chunk returns whole grids: their number is bounded, so that large sets do not spend their time on sums."""

# Particles of the coarse pass after which the memory of their samples is looked at.
_LOOKED_AT_TOGETHER = SMALLEST_CHUNK * MOST_CHUNKS


@dataclass(frozen=True)
class Expectation:
    """Results of one expectation step over m particles.

    Attributes:
        poses: of the m particles, in the order of the indices given.
        grids: per class, Hermitian sums ``[3, 2R + 1, 2R + 1, R + 1]`` float64 (numerator, weight), on the step's
            device, or on the CPU where they are kept apart; everything else is on the CPU.
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
    ranks: Ranks = ALONE,
) -> Expectation:
    """Run the expectation step over the particles at ``index`` (default: all).

    ``poses`` are the current poses of the whole set: their whole-pixel origins recentre the images, their norms
    scale them. Give the indices of a half set to refine halves apart. A ``team`` from `make_team` for the same images
    saves forking ``workers`` for every step. Several processes share the particles by ``ranks``; each returns all.

    Where memory does not suffice the step starts again with half of what it holds at once; a warning tells.

    Raises:
        MemoryError, torch.OutOfMemoryError: there is nothing left to halve.
    """
    if team is None:
        with make_team(images, workers, model.device) as own:
            return expectation(images, poses, model, workers, index, chunk_size, own, ranks)
    chosen = torch.arange(len(images)) if index is None else index
    if model.plan.exact:
        model = replace(model, quanta=step_quanta(model, int(chosen.shape[0])))
    mine = _share(chosen, model, ranks)
    totals, parts = _with_what_fits(images, poses, model, mine, chunk_size, team)
    with team.timed("sums of processes"):
        totals.combine(ranks)
    small = totals.small()
    return Expectation(
        poses=joined_poses([part for found in ranks.gather(parts) for part in found]),
        grids=totals.take_grids(),
        direction_weight=small["directions"],
        noise=small["noise"],
        noise_count=small["noise_count"],
        signal_product=small["product"],
        reference_power=small["power"],
        offset_power=float(small["offset"][0]),
    )


def make_team(images: ImageSet, workers: int, device: torch.device = CPU) -> Team:
    """Workers for any number of expectation steps over these images."""
    return Team(workers, {"images": images}, device)


def default_chunk_size(count: int) -> int:
    """Particles per chunk for ``count`` particles: part of the result's last bits, so never tied to the machine."""
    return max(SMALLEST_CHUNK, -(-count // MOST_CHUNKS))


def _share(chosen: Tensor, model: EstepModel, ranks: Ranks) -> Tensor:
    """This process's particles; whole blocks where sums are exact."""
    block = model.plan.block_particles if model.plan.exact else 1
    part = ranks.share(-(-int(chosen.shape[0]) // block))
    return chosen[part.start * block : part.stop * block]


def _chunks(mine: Tensor, model: EstepModel, size: int | None) -> list[Tensor]:
    count = int(mine.shape[0])
    if count == 0:
        return []
    size = size or default_chunk_size(count)
    if model.plan.exact:
        size = -(-size // model.plan.block_particles) * model.plan.block_particles
    return list(torch.split(mine, size))


def _with_what_fits(
    images: ImageSet, poses: Poses, model: EstepModel, mine: Tensor, size: int | None, team: Team
) -> tuple[Totals, list[Poses]]:
    """This process's step, with a smaller plan after each failure for lack of memory."""
    before = team.used

    def begin_again(plan: Plan) -> None:
        team.plan = plan
        team.restart()
        team.release(before)

    return with_what_fits(
        lambda plan: _own_step(images, poses, replace(model, plan=plan), _chunks(mine, model, size), team),
        model.plan if team.plan is None else team.plan,
        model.device,
        begin_again,
    )


def _own_step(
    images: ImageSet, poses: Poses, model: EstepModel, chunks: list[Tensor], team: Team
) -> tuple[Totals, list[Poses]]:
    everything = team.used
    alone = model.plan.grids_apart
    if not alone:
        model = replace(model, projectors=tuple(p.moved(team.copy) for p in model.projectors))
    totals, parts = Totals(model, images), list[Poses]()
    team.share("step", Step(poses, model, chunks, totals.apart))
    kind = torch.float32 if model.quanta is None else torch.int64
    grids = model.projectors[:1] if alone else model.projectors
    space = [team.empty((team.workers, 3, p.cells), kind) for p in grids] if chunks else []
    team.share("space", space)
    for first, found in _waves(model, team, [int(chunk.shape[0]) for chunk in chunks]):
        before = team.used
        for group, needed in _rounds(found, model):
            with team.timed("fine slices"):
                fine = make_fine_grid(model, needed, team)
            team.share("fine", FineStep(fine, [first + g for g in group], [found[g] for g in group]))
            with team.timed("fine pass"):
                for sums, state in team.map(fine_task, len(group), "worker", "images", "step", "fine", "space"):
                    totals.add(sums)
                    parts.append(state)
            del fine
            team.forget("fine")
            team.release(before)
    team.forget("step", "space")
    team.release(everything)
    return totals, parts


def _waves(model: EstepModel, team: Team, sizes: list[int]) -> Iterator[tuple[int, list[PackedSamples]]]:
    """The coarse pass over chunks of these sizes: the first chunk of each wave, and the samples of all its chunks.

    What the samples of a wave take is bounded, so that memory does not grow with the number of particles.
    """
    first = 0
    while first < len(sizes):
        before = team.used
        with team.timed("coarse slices"):
            team.share("coarse", make_coarse_grid(model, team))
        found: list[PackedSamples] = []
        while first + len(found) < len(sizes) and sum(one.nbytes for one in found) < model.plan.sample_bytes:
            start = first + len(found)
            team.share("first", start)
            with team.timed("coarse pass"):
                found += team.map(coarse_task, _together(sizes[start:]), "images", "step", "coarse", "first")
        team.forget("coarse")
        team.release(before)
        yield first, found
        first += len(found)


def _together(sizes: list[int]) -> int:
    """Chunks that are looked at together: the first few of ``sizes``."""
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if total > _LOOKED_AT_TOGETHER:
            return max(1, number)
    return len(sizes)


def _rounds(found: list[PackedSamples], model: EstepModel) -> list[tuple[list[int], Tensor]]:
    """Group consecutive chunks so that each group's fine slices fit in the table."""
    limit = max(1, model.plan.table_bytes // row_bytes(model))
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
