"""Half maps of ever smaller subsets of particles, at the poses they have: the points of a B-factor plot."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.reslog import Point
from cryorepro.em.signal_backing import GOLD_STANDARD, reconstruct_half
from cryorepro.em.streams import random_stream


def subset_resolutions(
    images: ImageSet,
    poses: Poses,
    halves: Tensor,
    symmetry: Tensor,
    sizes: list[int],
    seed: int,
    threshold: float = GOLD_STANDARD,
) -> list[Point]:
    """Resolution of half maps of random subsets; a smaller subset is a part of every larger one.

    Poses are not refined again, so smaller subsets look better than they would alone: the B-factor is a lower
    bound, as in every plot made this way.

    Args:
        images: all particles.
        poses: of all of them.
        halves: ``[n]``, 1 or 2; both are thinned alike.
        symmetry: point group ``[s, 3, 3]``.
        sizes: numbers of particles, both halves together.
        seed: of the order in which particles are dropped.
        threshold: of the FSC.
    """
    order = torch.as_tensor(random_stream(seed, "subset-series").permutation(len(images)))
    points = []
    for size in sizes:
        chosen = torch.zeros(len(images), dtype=torch.bool)
        for half in (1, 2):
            members = order[halves[order] == half]
            chosen[members[: round(size * len(members) / len(images))]] = True
        first, second = (reconstruct_half(images, poses, chosen & (halves == half), symmetry) for half in (1, 2))
        found = crossing(fsc_curve(first, second), threshold)
        angstrom = found.interpolated_angstrom(images.box_px, images.pixel_size_angstrom)
        points.append(Point(int(np.asarray(chosen).sum()), angstrom, found.shell))
    return points
