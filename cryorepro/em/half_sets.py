"""Two independent halves: how particles are divided, where the halves are joined, and the prior their FSC
gives.

Scheres & Chen, Nature Methods 9 (2012) 853: the signal-to-noise ratio of each half is FSC / (1 - FSC), that
of their sum uses sqrt(2 FSC / (1 + FSC)) in place of FSC.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.conventions import PADDING
from cryorepro.em.fourier import grid_shells
from cryorepro.em.fsc import corrected_curve, crossing, fsc_curve, randomise_phases
from cryorepro.em.maximisation import ReconstructionPlan, reconstruct_classes
from cryorepro.em.reconstruction import shell_noise
from cryorepro.em.streams import random_stream

_SMALLEST_FSC, _LARGEST_FSC = 0.001, 0.999
_NO_PRIOR = 1e30
_RANDOMISE_AT_FSC = 0.8


def random_halves(count: int, seed: int) -> NDArray[np.int64]:
    """Half (1 or 2) of each of ``count`` particles: a seeded shuffle of halves of equal size."""
    order = random_stream(seed, "halves").permutation(count)
    halves = np.empty(count, dtype=np.int64)
    halves[order] = np.arange(count) % 2 + 1
    return halves


def join_low_resolution(
    first: Tensor, second: Tensor, join_shell: int, padding: int = PADDING
) -> tuple[Tensor, Tensor]:
    """Give both halves' sums ``[3, 2R + 1, 2R + 1, R + 1]`` their mean out to ``join_shell``.

    Two halves can drift apart in orientation as a whole; sharing what is certain anyway prevents that.
    """
    squared, _ = grid_shells(first.shape[-1] - 1, padding)
    shared = (squared <= (padding * join_shell) ** 2).to(first.device)
    mean = 0.5 * (first + second)
    return torch.where(shared, mean, first), torch.where(shared, mean, second)


def unregularised(
    grids: list[Tensor], box_px: int, max_radius: int, padding: int = PADDING, workers: int = 1
) -> list[Tensor]:
    """Maps ``[n, n, n]`` of Hermitian sums without any prior, for FSC and as unfiltered half maps."""
    no_prior = torch.full((len(grids), box_px // 2 + 1), _NO_PRIOR, dtype=torch.float64)
    plan = ReconstructionPlan(box_px, max_radius, 1.0, padding, None)
    return [made.volume for made in reconstruct_classes(grids, no_prior, plan, workers)]


def half_map_fsc(first: Tensor, second: Tensor, max_radius: int) -> Tensor:
    """FSC ``[box / 2 + 1]`` float64 of two maps ``[n, n, n]``; zero beyond ``max_radius``, one at 0."""
    curve = torch.from_numpy(fsc_curve(first.numpy(), second.numpy()))
    curve[max_radius + 1 :] = 0.0
    curve[0] = 1.0
    return curve


def solvent_corrected_fsc(
    first: Tensor, second: Tensor, mask: Tensor, max_radius: int, generator: np.random.Generator
) -> Tensor:
    """FSC ``[box / 2 + 1]`` within ``mask [n, n, n]``, corrected for the mask by randomised phases.

    Chen et al., Ultramicroscopy 135 (2013) 24: phases are drawn anew from the first shell whose unmasked FSC is
    below 0.8, RELION's ``--solvent_correct_fsc``.  Where none is, the mask can have added nothing.
    """
    unmasked = half_map_fsc(first, second, max_radius)
    start = crossing(unmasked.numpy(), _RANDOMISE_AT_FSC)
    if not start.crossed:
        return unmasked
    halves, within = (first.double().numpy(), second.double().numpy()), mask.double().numpy()
    masked = fsc_curve(halves[0] * within, halves[1] * within)
    drawn = [randomise_phases(half, start.shell + 1, generator) * within for half in halves]
    curve = torch.from_numpy(corrected_curve(masked, fsc_curve(drawn[0], drawn[1]), start.shell + 1))
    curve[max_radius + 1 :] = 0.0
    curve[0] = 1.0
    return curve


def prior_from_fsc(
    fsc: Tensor, data: Tensor, box_px: int, max_radius: int, whole: bool, padding: int = PADDING
) -> Tensor:
    """Signal power tau2 ``[box / 2 + 1]`` of a map from the FSC of its halves and its own noise.

    Args:
        fsc: ``[box / 2 + 1]``.
        data: Hermitian sums ``[3, 2R + 1, 2R + 1, R + 1]`` of the map in question.
        box_px: box size.
        max_radius: shells in use.
        whole: the map is that of both halves together.
        padding: of the grid.
    """
    correlation = fsc.clamp(_SMALLEST_FSC, _LARGEST_FSC)
    if whole:
        correlation = torch.sqrt(2.0 * correlation / (1.0 + correlation)).clamp(max=_LARGEST_FSC)
    noise = shell_noise(data[2].double(), box_px, max_radius, padding).to(fsc)
    tau2 = correlation / (1.0 - correlation) * noise
    shells = torch.arange(fsc.shape[0])
    return torch.where((shells <= max_radius) & torch.isfinite(tau2), tau2, 0.0)
