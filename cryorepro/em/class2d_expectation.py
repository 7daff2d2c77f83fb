"""The expectation step of a 2D classification over all particles, in chunks whose sums are added in order.

Chunks have a fixed size, whatever the number of workers, and the parent adds their sums in float64 in chunk order: the
result has the same bits on one worker and on many. With an exact plan what chunks return is added as whole numbers of
quanta: the result then has the same bits on any number of processes too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.class2d_chunk import PlaneChunk
from cryorepro.em.class2d_coarse import make_coarse_table
from cryorepro.em.class2d_grid import PlaneModel
from cryorepro.em.class2d_totals import PlaneTotals
from cryorepro.em.devices.halving import with_what_fits
from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.estep_sums import Arrays, poses_from_arrays
from cryorepro.em.expectation import Expectation
from cryorepro.em.expectation_tasks import joined_poses
from cryorepro.em.fixed_point import bounded_quanta
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.parallel import map_in_order

_SMALLEST_CHUNK = 128
_MOST_CHUNKS = 48


@dataclass(frozen=True)
class PlaneSums:
    """Results of one expectation step: those of `Expectation`, and those only a 2D classification has.

    Attributes:
        shared: poses, noise, scales; ``grids`` has one Hermitian ``[3, rows, columns]`` float64 per class, and
            ``direction_weight`` is ``[k, 1]``.
        class_offset: ``[k, 2]`` sum of the posterior mean of the offset of the particles of a class, in pixels.
    """

    shared: Expectation
    class_offset: Tensor


def plane_expectation(
    images: ImageSet,
    poses: Poses,
    model: PlaneModel,
    workers: int = 1,
    index: Tensor | None = None,
    ranks: Ranks = ALONE,
) -> PlaneSums:
    """Run the expectation step over the particles at ``index`` (default: all).

    Several processes share the particles by ``ranks``; each returns all. Where memory does not suffice the step starts
    again with half of what it holds at once; a warning tells.

    Raises:
        MemoryError, torch.OutOfMemoryError: there is nothing left to halve.
    """
    chosen = torch.arange(len(images)) if index is None else index
    if model.plan.exact:
        model = replace(model, quanta=bounded_quanta(model.preparation, model.scale, int(chosen.shape[0])))
    size = max(_SMALLEST_CHUNK, -(-int(chosen.shape[0]) // _MOST_CHUNKS))
    chunks = torch.split(chosen, size)
    mine = [chunks[number] for number in ranks.share(len(chunks))]
    workers = workers if model.device.type == "cpu" else 1
    totals, parts = with_what_fits(
        lambda plan: _own_step(images, poses, replace(model, plan=plan), mine, workers), model.plan, model.device
    )
    totals.combine(ranks)
    found = joined_poses([part for several in ranks.gather(parts) for part in several])
    return _result(totals, found, model)


def _own_step(
    images: ImageSet, poses: Poses, model: PlaneModel, chunks: list[Tensor], workers: int
) -> tuple[PlaneTotals, list[Poses]]:
    coarse = make_coarse_table(model)
    _ = model.fine_turns  # made once, before workers are forked

    def task(number: int) -> tuple[Arrays, Arrays]:
        return PlaneChunk(images, poses, model, coarse, chunks[number]).run()

    totals, parts = PlaneTotals(model, images), list[Poses]()
    for sums, state in map_in_order(task, len(chunks), workers):
        totals.add(sums)
        parts.append(poses_from_arrays(state))
    return totals, parts


def _result(totals: PlaneTotals, poses: Poses, model: PlaneModel) -> PlaneSums:
    small = totals.small()
    shared = Expectation(
        poses=poses,
        grids=[hermitian_plane(grid) for grid in totals.grids(tuple(model.grids.shape[1:]))],
        direction_weight=small["class"],
        noise=small["noise"],
        noise_count=small["noise_count"],
        signal_product=small["product"],
        reference_power=small["power"],
        offset_power=float(small["offset"][0]),
    )
    return PlaneSums(shared, small["class_offset"])


def hermitian_plane(data: Tensor) -> Tensor:
    """Add the Friedel mates that fall on the line kx = 0 of ``data [3, rows, columns]``; the origin is its own mate."""
    line = data[..., 0]
    mates = line.flip(1) * torch.tensor([1.0, -1.0, 1.0]).to(data)[:, None]
    mates[:, line.shape[1] // 2] = 0.0
    out = data.clone()
    out[..., 0] = line + mates
    return out
