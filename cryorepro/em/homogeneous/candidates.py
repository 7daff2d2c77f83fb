"""Candidate poses of many particles in one flat list, and which of them go on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Candidates:
    """c poses of b images.

    Attributes:
        image: ``[c]`` int64, which image, ascending.
        matrices: ``[c, 3, 3]`` float64 orientations.
        shifts: ``[c, 2]`` float64 (x, y) pixels, beyond the whole-pixel shift already applied.
        scores: ``[c]`` float32.
    """

    image: Tensor
    matrices: Tensor
    shifts: Tensor
    scores: Tensor

    def select(self, rows: Tensor) -> Candidates:
        """The candidates at ``rows``."""
        return Candidates(self.image[rows], self.matrices[rows], self.shifts[rows], self.scores[rows])

    def joined(self, other: Candidates) -> Candidates:
        """Both lists, in order of the image."""
        parts = [torch.cat([getattr(self, n), getattr(other, n)]) for n in self.__dataclass_fields__]
        return Candidates(*parts).select(torch.argsort(torch.cat([self.image, other.image]), stable=True))


def ranked(image: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Order ``[c]`` by image, then falling score, and each entry's rank within its image in that order."""
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[torch.argsort(image[order], stable=True)]
    members = torch.bincount(image, minlength=int(image.max()) + 1)
    starts = members.cumsum(0) - members
    return order, torch.arange(order.shape[0], device=order.device) - starts[image[order]]


def keep_best(found: Candidates, threshold: Tensor, keep: int) -> Candidates:
    """The best of each image, and up to ``keep`` of its others whose score reaches ``threshold [b]``."""
    order, rank = ranked(found.image, found.scores)
    possible = found.scores[order] >= threshold[found.image[order]]
    return found.select(order[(rank == 0) | ((rank < keep) & possible)])


def best_scores(found: Candidates, images: int) -> Tensor:
    """``[b]`` best score of each image; -inf for one without candidates."""
    out = torch.full((images,), -torch.inf, dtype=found.scores.dtype, device=found.scores.device)
    return out.scatter_reduce_(0, found.image, found.scores, "amax")


def first_of_each(found: Candidates) -> Tensor:
    """Row of each image's best candidate, in order of the image; every image must have one."""
    order, rank = ranked(found.image, found.scores)
    return order[rank == 0]
