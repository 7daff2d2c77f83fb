"""From the sums of both halves to the maps of the next iteration: FSC, mask, and uniform or local regularisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.fsc import MaskedFsc, crossing, fsc_curve, masked_fsc
from cryorepro.em.half_sets import join_low_resolution, prior_from_fsc, unregularised
from cryorepro.em.homogeneous.dynamic_mask import mask_of
from cryorepro.em.homogeneous.nonuniform import LocalFilter, choose_filter
from cryorepro.em.homogeneous.nonuniform_bands import BandFilter, choose_bands
from cryorepro.em.homogeneous.options import HomogeneousOptions
from cryorepro.em.reconstruction import Reconstruction, reconstruct, symmetrise

AnyLocalFilter = LocalFilter | BandFilter
_RANDOMISE_AT_FSC = 0.8
_LEAST_RANDOMISED_SHELL = 2


@dataclass(frozen=True)
class Frame:
    """What all maps of a refinement share."""

    box_px: int
    pixel_size_angstrom: float
    radius: int


@dataclass(frozen=True)
class HalfMaps:
    """Both halves after an iteration.

    Attributes:
        grids: their Hermitian, symmetrised sums, joined at low resolution.
        unfiltered: maps ``[n, n, n]`` without any prior.
        mask: ``[n, n, n]`` float32.
        curves: the noise-substituted FSC within the mask.
    """

    grids: tuple[Tensor, Tensor]
    unfiltered: tuple[Tensor, Tensor]
    mask: Tensor
    curves: MaskedFsc

    @property
    def fsc(self) -> Tensor:
        """Corrected FSC ``[n / 2 + 1]`` float64."""
        return torch.from_numpy(self.curves.corrected.copy())

    def resolution_shell(self) -> int:
        """Last shell before the corrected FSC falls below 0.143."""
        return max(1, crossing(self.curves.corrected, 0.143).shell)


def half_maps(
    grids: tuple[Tensor, Tensor],
    frame: Frame,
    options: HomogeneousOptions,
    shared_shell: int,
    before_angstrom: float,
    generator: np.random.Generator,
    workers: int,
) -> HalfMaps:
    """Maps, mask and FSC of Hermitian sums.

    ``shared_shell`` is the last whose sums the halves share (0: none), ``before_angstrom`` the resolution so far.
    """
    if shared_shell > 0:
        grids = join_low_resolution(grids[0], grids[1], shared_shell, options.padding)
    many = options.symmetry.shape[0] > 1
    summed = [symmetrise(grid, options.symmetry) if many else grid for grid in grids]
    first, second = unregularised(summed, frame.box_px, frame.radius, options.padding, workers)
    mask = mask_of(0.5 * (first + second), frame.pixel_size_angstrom, before_angstrom, options)
    curves = substituted_fsc(first, second, mask, frame.radius, generator)
    return HalfMaps((summed[0], summed[1]), (first, second), mask, curves)


def substituted_fsc(
    first: Tensor, second: Tensor, mask: Tensor, radius: int, generator: np.random.Generator
) -> MaskedFsc:
    """FSC of two maps within ``mask``, less what the mask adds as found with randomised phases.

    Where the unmasked curve never falls below 0.8 the mask can have added nothing, and its curve is the answer.
    """
    halves, within = [v.double().numpy() for v in (first, second)], mask.double().numpy()
    unmasked = fsc_curve(halves[0], halves[1])
    start = crossing(unmasked[: radius + 1], _RANDOMISE_AT_FSC)
    if not start.crossed:
        masked = fsc_curve(halves[0] * within, halves[1] * within)
        return _cut(MaskedFsc(unmasked, masked, np.zeros_like(masked), unmasked.copy(), radius), radius)
    from_shell = max(_LEAST_RANDOMISED_SHELL, start.shell + 1)
    return _cut(masked_fsc(halves[0], halves[1], within, generator, from_shell=from_shell), radius)


def _cut(curves: MaskedFsc, radius: int) -> MaskedFsc:
    """The corrected curve ends at the last shell in use and is one at the origin."""
    curves.corrected[radius + 1 :] = 0.0
    curves.corrected[0] = 1.0
    return curves


@dataclass(frozen=True)
class Regularised:
    """Next references ``[n, n, n]``, their spectra, and the local filter of a non-uniform refinement."""

    references: tuple[Tensor, Tensor]
    spectra: tuple[Reconstruction, Reconstruction]
    tau2: tuple[Tensor, Tensor]
    local: AnyLocalFilter | None


def regularised(maps: HalfMaps, frame: Frame, options: HomogeneousOptions) -> Regularised:
    """Filter both halves by their FSC, or each voxel as cross-validation chooses, within the mask."""
    fsc = maps.fsc
    tau2 = [
        prior_from_fsc(fsc, grid, frame.box_px, frame.radius, whole=False, padding=options.padding)
        for grid in maps.grids
    ]
    made = [
        reconstruct(grid, frame.box_px, frame.radius, prior, 1.0, options.padding)
        for grid, prior in zip(maps.grids, tau2, strict=True)
    ]
    volumes: list[Tensor] = [part.volume for part in made]
    local: AnyLocalFilter | None = None
    if options.local_filter is not None:
        halves = [(half * maps.mask).double().numpy() for half in maps.unfiltered]
        choose = choose_bands if options.local_filter.family == "bands" else choose_filter
        local = choose(halves[0], halves[1], options.local_filter)
        volumes = [torch.from_numpy(local.apply(half)) for half in halves]
    first, second = ((volume * maps.mask).float() for volume in volumes)
    return Regularised((first, second), (made[0], made[1]), (tau2[0], tau2[1]), local)
