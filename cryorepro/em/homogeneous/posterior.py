"""Shares of the candidate poses that a search leaves: the posterior over them, rather than the best one alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.homogeneous.candidates import Candidates, best_scores, first_of_each
from cryorepro.em.homogeneous.levels import Level
from cryorepro.em.homogeneous.scores import Weighted, block_scores
from cryorepro.em.projection import Projector

SPREAD_NATS = 8.0
"""Poses that far below the best hold less than a thousandth of its weight."""
_LEAST_SHARE = 1e-3
_OFFSETS = torch.cartesian_prod(torch.arange(-1.0, 2.0), torch.arange(-1.0, 2.0)).double()


@dataclass(frozen=True)
class Weights:
    """Poses with their shares ``[c]`` of each image's posterior, and the best pose of each with its share."""

    poses: Candidates
    shares: Tensor
    best: Candidates
    best_share: Tensor


def pose_weights(projector: Projector, data: Weighted, found: Candidates, level: Level) -> Weights:
    """The posterior over the candidates and the shifts next to theirs; shares below a thousandth are left out."""
    images = data.values.shape[0]
    offsets = _OFFSETS.to(found.shifts.device) * level.shift_step_px
    scores = block_scores(projector, data, found, found.matrices[:, None], offsets, level.radius)[:, :, 0]
    every = Candidates(
        found.image.repeat_interleave(offsets.shape[0]),
        found.matrices.repeat_interleave(offsets.shape[0], dim=0),
        (found.shifts[:, None] + offsets).reshape(-1, 2),
        scores.flatten(),
    )
    top = best_scores(every, images)
    share = _normalised(torch.exp(every.scores - top[every.image]), every.image, images)
    first = first_of_each(every)
    kept = (share >= _LEAST_SHARE).nonzero()[:, 0]
    poses = every.select(kept)
    return Weights(poses, _normalised(share[kept], poses.image, images), every.select(first), share[first])


def _normalised(weight: Tensor, image: Tensor, images: int) -> Tensor:
    total = torch.zeros(images, dtype=weight.dtype, device=weight.device).index_add_(0, image, weight)
    return weight / total[image]
