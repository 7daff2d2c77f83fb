"""From the sums of an expectation step to the parameters of the next model, as RELION updates them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.expectation import Expectation
from cryorepro.em.fourier import shell_pixel_counts
from cryorepro.em.noise import positive_spectra
from cryorepro.em.parallel import map_in_order
from cryorepro.em.reconstruction import Reconstruction, reconstruct, symmetrise

# RELION: scales count shells with at least this signal-to-noise ratio, and stay within 1/5 and 5 of the median.
_SCALE_MIN_SSNR = 3.0
_SCALE_SPREAD = 5.0
# No direction is ruled out for good because no particle of a small set fell on it this time.
_DIRECTION_FLOOR = 1e-3
# Numbers in all grids below which workers cost more than they bring.
_WORTH_FORKING = 10_000_000


@dataclass(frozen=True)
class ReconstructionPlan:
    """What the reconstruction of all classes shares."""

    box_px: int
    max_radius: int
    tau2_fudge: float
    padding: int
    symmetry: Tensor | None


def reconstruct_classes(
    grids: list[Tensor], tau2: Tensor, plan: ReconstructionPlan, workers: int, ranks: Ranks = ALONE
) -> list[Reconstruction]:
    """One map per class from Hermitian sums ``[3, ...]``; ``tau2 [k, box / 2 + 1]``. Empty classes give zeros.

    Maps are made where the sums are, every one by one of the processes, and handed over on the CPU.
    """
    if ranks.size > 1:
        return _shared_out(grids, tau2, plan, workers, ranks)

    def made(number: int) -> Reconstruction:
        data = grids[number]
        if plan.symmetry is not None and plan.symmetry.shape[0] > 1:
            data = symmetrise(data, plan.symmetry)
        found = reconstruct(data, plan.box_px, plan.max_radius, tau2[number], plan.tau2_fudge, plan.padding)
        return Reconstruction(*(getattr(found, name).cpu() for name in Reconstruction.__dataclass_fields__))

    def task(number: int) -> tuple[np.ndarray, ...]:
        own = made(number)
        return tuple(getattr(own, name).numpy() for name in Reconstruction.__dataclass_fields__)

    if grids[0].device.type != "cpu":
        return [made(number) for number in range(len(grids))]
    at_once = workers if sum(grid.numel() for grid in grids) > _WORTH_FORKING else 1
    return [
        Reconstruction(*(torch.from_numpy(values.copy()) for values in parts))
        for parts in map_in_order(task, len(grids), at_once)
    ]


def _shared_out(
    grids: list[Tensor], tau2: Tensor, plan: ReconstructionPlan, workers: int, ranks: Ranks
) -> list[Reconstruction]:
    own = list(range(ranks.rank, len(grids), ranks.size))
    made = reconstruct_classes([grids[i] for i in own], tau2[own], plan, workers) if own else []
    every = {number: one for found in ranks.gather(list(zip(own, made, strict=True))) for number, one in found}
    return [every[number] for number in range(len(grids))]


def updated_noise(sums: Expectation, previous: Tensor, box_px: int) -> Tensor:
    """Noise variance per component ``[groups, shells]``; groups without particles keep what they had."""
    counted = sums.noise_count[:, None]
    values = sums.noise / (2.0 * counted.clamp(min=1.0) * shell_pixel_counts(box_px).double())
    return torch.where(counted > 0, positive_spectra(values, previous), previous)


def updated_scales(sums: Expectation, data_vs_prior: Tensor, members: Tensor, previous: Tensor) -> Tensor:
    """Intensity scale ``[groups]`` of each group, mean 1 over particles; ``members [groups]`` counts them.

    Shells count where some class has a signal-to-noise ratio above 3; without any, scales stay.
    """
    use = data_vs_prior.amax(dim=0) > _SCALE_MIN_SSNR
    product, power = sums.signal_product[:, use].sum(dim=1), sums.reference_power[:, use].sum(dim=1)
    known = (product > 0) & (power > 0) & (members > 0)
    if not bool(known.any()):
        return previous
    scale = torch.where(known, product / power.clamp(min=1e-300), torch.ones_like(product))
    median = scale[members > 0].median()
    scale = scale.clamp(median / _SCALE_SPREAD, median * _SCALE_SPREAD)
    return scale / ((scale * members).sum() / members.sum())


def updated_directions(sums: Expectation) -> Tensor:
    """Probability of class and direction ``[k, d]``, sums to 1, never exactly zero within a class in use."""
    share = sums.direction_weight / sums.direction_weight.sum()
    of_class = share.sum(dim=1, keepdim=True)
    floored = share + _DIRECTION_FLOOR * of_class / share.shape[1]
    return floored / floored.sum()


def updated_offset_sigma_px(sums: Expectation) -> float:
    """Deviation per axis of the offsets, in pixels."""
    weight = float(sums.direction_weight.sum())
    return float(max((sums.offset_power / (2.0 * weight)) ** 0.5, 1e-3))


def signal_scale(sums: Expectation, max_shell: int) -> float:
    """Least-squares factor from the references to the images over shells 1 .. ``max_shell``.

    After an iteration scored by cross-correlation it tells the grey scale of the reference; 1 if undefined.
    """
    use = slice(1, max_shell + 1)
    product, power = float(sums.signal_product[:, use].sum()), float(sums.reference_power[:, use].sum())
    return product / power if product > 0 and power > 0 else 1.0


def resolved_shell(data_vs_prior: Tensor, least: int) -> int:
    """Last shell before the signal-to-noise ratio ``[k, shells]`` first falls below 1, best class, RELION's rule."""
    best = least
    for ratio in data_vs_prior:
        below = (ratio[1:-1] < 1.0).nonzero()[:, 0]
        best = max(best, int(below[0]) if below.numel() else ratio.shape[0] - 2)
    return best
