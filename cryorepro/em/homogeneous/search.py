"""Poses of particles by branch and bound: an exhaustive coarse grid at low resolution, then ever finer children.

Each level scores the children of the candidates that are left, keeps those whose score plus the most that the shells
not yet compared can add (`bounds`) still reaches a score some pose is known to have over all shells, and passes at most
a fixed number on.  Unlike an adaptive grid of two steps it never makes a table of all fine orientations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.devices.plan import Plan
from cryorepro.em.fourier import HalfPlane
from cryorepro.em.homogeneous.bounds import possible_gain
from cryorepro.em.homogeneous.candidates import Candidates, best_scores, keep_best
from cryorepro.em.homogeneous.coarse import CoarseTable, coarse_candidates
from cryorepro.em.homogeneous.levels import Level
from cryorepro.em.homogeneous.scores import NUMBERS_AT_ONCE, Weighted, score_children, score_poses, weighted_images
from cryorepro.em.preparation import Prepared
from cryorepro.em.projection import Projector

_OFFSETS = torch.cartesian_prod(torch.arange(-1.0, 2.0), torch.arange(-1.0, 2.0)).double()
_CORNERS = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25], dtype=torch.float64)] * 3)
CPU_PLAN = Plan(block_particles=32, images_per_block=8, scores_per_block=1 << 40, numbers_per_batch=NUMBERS_AT_ONCE)
"""What suits the caches of a CPU: images searched together, those of a product, and numbers gathered at once."""


@dataclass(frozen=True)
class SearchModel:
    """What a search assumes.

    Attributes:
        projector: of the reference.
        plane: half plane of the images, out to the projector's radius.
        levels: coarse to fine; the last radius is that of the alignment.
        coarse: slices of the coarse grid.
        shell_power: ``[shells]`` of `bounds.largest_shell_power`.
        any_scale: compare at the best intensity of each pose rather than the known one: for a first reference.
        spread_nats: how far below the best score candidates are kept on the last level.
        plan: how much is held at once.
    """

    projector: Projector
    plane: HalfPlane
    levels: tuple[Level, ...]
    coarse: CoarseTable
    shell_power: Tensor
    any_scale: bool = False
    spread_nats: float = 0.0
    plan: Plan = CPU_PLAN

    @property
    def device(self) -> torch.device:
        """Where the search runs."""
        return self.projector.device

    def weighted(self, images: Prepared, scale: Tensor) -> Weighted:
        """The images of intensities ``scale [b]`` as they are compared."""
        return weighted_images(self.plane, images, scale, self.any_scale, self.plan.numbers_per_batch)


@dataclass(frozen=True)
class Found:
    """What is left of a search: the finest candidates, each with its best shift, and how much work there was.

    ``scored`` counts the orientations compared after level 0.
    """

    candidates: Candidates
    scored: int


def search(model: SearchModel, images: Prepared, scale: Tensor, earlier: Candidates | None = None) -> Found:
    """Search all poses of ``b`` prepared images of intensities ``scale [b]``.

    ``earlier`` has one pose per image, from an earlier iteration: it bounds the score from below from the start, and
    its neighbourhood is searched on every level.
    """
    data = model.weighted(images, scale)
    count, last = images.masked.shape[0], model.levels[-1].radius
    gain = possible_gain(images, scale, model.plane, model.shell_power, model.levels)
    gain[:, -1] = model.spread_nats
    known = torch.full((count,), -torch.inf, device=model.device)
    if earlier is not None:
        earlier = score_poses(model.projector, data, earlier, last)
        known = best_scores(earlier, count)
    per_image = 2 * model.coarse.matrices.shape[0] * model.coarse.shifts.shape[0]
    together = max(1, min(model.plan.images_per_block, model.plan.scores_per_block // per_image))
    found = coarse_candidates(model.coarse, data, model.levels[0].keep, together)
    scored = 0
    for number, level in enumerate(model.levels):
        if number > 0:
            children = child_matrices(found.matrices, model.levels[number - 1].step_deg)
            offsets = _OFFSETS.to(model.device) * level.shift_step_px
            found = score_children(model.projector, data, found, children, offsets, level.radius)
            scored += int(found.image.shape[0])
        known = _raised(model, data, found, known, level, last)
        threshold = torch.full_like(known, -torch.inf) if model.any_scale else known - gain[:, number]
        found = keep_best(found, threshold, level.keep)
        if earlier is not None and number < len(model.levels) - 1:
            found = found.joined(earlier)
    return Found(found if earlier is None else found.joined(earlier), scored)


def child_matrices(matrices: Tensor, step_deg: float) -> Tensor:
    """``[c, 8, 3, 3]``: the cell of ``step_deg`` about each orientation, cut in two along each of three axes."""
    children: Tensor = _turns(_CORNERS.to(matrices) * step_deg) @ matrices[:, None]
    return children


def _turns(vectors_deg: Tensor) -> Tensor:
    """Rotations ``[v, 3, 3]`` about vectors ``[v, 3]`` whose length is the angle in degrees."""
    x, y, z = torch.deg2rad(vectors_deg).unbind(-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, dim=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    turns: Tensor = torch.linalg.matrix_exp(torch.stack(rows, dim=-2))
    return turns


def _raised(model: SearchModel, data: Weighted, found: Candidates, known: Tensor, level: Level, last: int) -> Tensor:
    """The score ``[b]`` that some pose is known to have over all shells, with each image's best candidate so far."""
    if level.radius < last:
        found = score_poses(model.projector, data, keep_best(found, torch.full_like(known, torch.inf), 1), last)
    return torch.maximum(known, best_scores(found, known.shape[0]))
