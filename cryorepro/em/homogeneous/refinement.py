"""Gold-standard refinement by branch and bound; see :mod:`cryorepro.em.homogeneous.options` for what it can vary.

Every iteration searches each half against its own reference over the shells the FSC allows, rebuilds both, makes a new
mask and measures their noise-substituted FSC within it.  It ends when the resolution has stopped improving.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.assignment_accuracy import assignment_changes
from cryorepro.em.devices.memory import free_bytes
from cryorepro.em.devices.planning import largest_plan
from cryorepro.em.errors import InputError
from cryorepro.em.fourier import half_plane, shell_pixel_counts
from cryorepro.em.fsc import MaskedFsc
from cryorepro.em.half_sets import prior_from_fsc
from cryorepro.em.homogeneous.bounds import largest_shell_power
from cryorepro.em.homogeneous.coarse import coarse_table
from cryorepro.em.homogeneous.cubic_projector import KERNELS
from cryorepro.em.homogeneous.dynamic_mask import sphere
from cryorepro.em.homogeneous.expectation import HalfModel, HalfSums, half_expectation
from cryorepro.em.homogeneous.levels import KEPT, KEPT_LATER, Level, make_levels
from cryorepro.em.homogeneous.options import HomogeneousOptions
from cryorepro.em.homogeneous.posterior import SPREAD_NATS
from cryorepro.em.homogeneous.regularise import AnyLocalFilter, Frame, HalfMaps, half_maps, regularised
from cryorepro.em.homogeneous.search import CPU_PLAN, SearchModel
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.lowpass import lowpass_map
from cryorepro.em.masks import soft_circle
from cryorepro.em.noise import initial_noise, positive_spectra
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector
from cryorepro.em.reconstruction import reconstruct
from cryorepro.em.refine3d import Final, Refinement, indices
from cryorepro.em.refine_schedule import Schedule
from cryorepro.em.refine_state import HalfState, start_half
from cryorepro.em.sampling import make_sampling, translation_grid
from cryorepro.em.streams import random_stream

_NEVER_LOCAL = 99
_WHOLE_BOX_TO_PX, _GROWTH_SHELLS, _GROWTH = 128, 16, 1.25
_KEPT_FOR_MARGINALS = 32
_THOROUGH_ITERATIONS = 2
# An intensity is believed to be 1 with a deviation of 0.3 until its particle says otherwise.
_SCALE_PRECISION = 1.0 / 0.3**2
_SCALE_RANGE = (0.2, 5.0)
_DECIMALS = 9


@dataclass(frozen=True)
class Homogeneous:
    """Everything between two iterations.

    Attributes:
        refinement: halves, poses, schedule and FSC, in the terms that RELION's files know.
        scale: ``[n]`` float64 intensity of each particle, mean 1.
        mask: ``[n, n, n]`` float32 of the last iteration.
        curves: FSC of the last iteration; None before the first.
        local: filter chosen in the last iteration of a non-uniform refinement.
        scored: mean number of orientations compared per particle after the coarse grid.
    """

    refinement: Refinement
    scale: Tensor
    mask: Tensor
    curves: MaskedFsc | None = None
    local: AnyLocalFilter | None = None
    scored: float = 0.0

    @property
    def converged(self) -> bool:
        """Whether the resolution has stopped improving."""
        return self.refinement.schedule.converged


@dataclass(frozen=True)
class Finished:
    """The joined result: final map and half maps, and the state they belong to.

    The final map is filtered uniformly by the FSC; ``local_map [n, n, n]`` is the same with the local filter in its
    place, in a non-uniform refinement.
    """

    final: Final
    state: Homogeneous
    local_map: Tensor | None = None


def start(
    images: ImageSet,
    poses: Poses,
    references: Sequence[NDArray[np.floating]],
    half_of: NDArray[np.int64],
    options: HomogeneousOptions,
    ini_high_angstrom: float,
    workers: int,
) -> Homogeneous:
    """State before the first iteration: one reference for both halves, or one for each, low-passed.

    Raises:
        InputError: the low-pass is beyond Nyquist, or the interpolation kernel is unknown.
    """
    if options.kernel not in KERNELS:
        raise InputError(f"interpolation kernel '{options.kernel}' is not one of {', '.join(sorted(KERNELS))}.")
    pixel, box = images.pixel_size_angstrom, images.box_px
    circle, directions = _circle(images, options), _directions(options)
    halves = []
    for half, reference in enumerate((references[0], references[-1]), start=1):
        smooth = torch.from_numpy(lowpass_map(reference, ini_high_angstrom, pixel)).float()
        noise = initial_noise(images, poses, circle, workers, index=indices(half_of, half))
        halves.append(start_half(smooth, noise, images.scale_groups, directions, options.shift_range_px / 2.0))
    shell = max(1, round(box * pixel / ini_high_angstrom))
    return Homogeneous(
        refinement=Refinement(
            iteration=0,
            halves=(halves[0], halves[1]),
            half_of=half_of,
            poses=poses,
            schedule=Schedule(
                healpix_order=options.healpix_order,
                oversampling=0,
                offset_range_px=options.shift_range_px,
                offset_step_px=options.shift_step_px,
                radius=shell,
                local_order=_NEVER_LOCAL,
            ),
            perturbation=0.0,
            fsc=torch.zeros(box // 2 + 1, dtype=torch.float64),
            resolution_shell=shell,
        ),
        scale=torch.ones(len(images), dtype=torch.float64),
        mask=sphere(box, pixel, options),
    )


def run(
    images: ImageSet, state: Homogeneous, options: HomogeneousOptions, seed: int, workers: int, maximum: int
) -> Iterator[Homogeneous]:
    """Yield the state after every iteration until the resolution stops improving, or ``maximum`` iterations."""
    while not state.converged and state.refinement.iteration < maximum:
        state = iterate(images, state, options, seed, workers)
        yield state


def iterate(images: ImageSet, state: Homogeneous, options: HomogeneousOptions, seed: int, workers: int) -> Homogeneous:
    """One iteration of both halves."""
    before = state.refinement
    frame = _frame(images, before)
    sums, poses = _expect(images, state, options, frame, workers)
    shared = min(
        math.ceil(frame.box_px * frame.pixel_size_angstrom / options.join_halves_angstrom), before.resolution_shell
    )
    resolution = frame.box_px * frame.pixel_size_angstrom / before.resolution_shell
    generator = random_stream(seed, f"phases {before.iteration + 1}")
    maps = half_maps((sums[0].grid, sums[1].grid), frame, options, shared, resolution, generator, workers)
    made = regularised(maps, frame, options)
    halves = []
    for number, half in enumerate(before.halves):
        noised, spectra = _after_search(half, sums[number], before.iteration == 0), made.spectra[number]
        halves.append(
            replace(
                noised, reference=made.references[number], tau2=made.tau2[number], ssnr=spectra.data_vs_prior,
                coverage=spectra.coverage, map_sigma2=spectra.sigma2,
            )
        )  # fmt: skip
    return Homogeneous(
        refinement=_advanced(before, halves, poses, maps, images, options),
        scale=_scales(state, sums, before.half_of) if options.per_particle_scale else state.scale,
        mask=maps.mask,
        curves=maps.curves,
        local=made.local,
        scored=0.5 * (sums[0].scored + sums[1].scored),
    )


def finish(images: ImageSet, state: Homogeneous, options: HomogeneousOptions, seed: int, workers: int) -> Finished:
    """A last search to the resolution reached, unfiltered half maps that share nothing, one map of all particles."""
    before = state.refinement
    frame = replace(_frame(images, before), radius=images.box_px // 2)
    sums, poses = _expect(images, state, options, frame, workers)
    resolution = frame.box_px * frame.pixel_size_angstrom / before.resolution_shell
    generator = random_stream(seed, f"phases {before.iteration + 1}")
    maps = half_maps((sums[0].grid, sums[1].grid), frame, options, 0, resolution, generator, workers)
    both = maps.grids[0] + maps.grids[1]
    tau2 = prior_from_fsc(maps.fsc, both, frame.box_px, frame.radius, whole=True, padding=options.padding)
    joined = reconstruct(both, frame.box_px, frame.radius, tau2, 1.0, options.padding)
    local = regularised(maps, frame, options).local
    filtered = None if local is None else torch.from_numpy(local.apply(_average(maps).double().numpy())).float()
    whole = replace(
        before.halves[0], reference=joined.volume.float(), tau2=tau2, ssnr=joined.data_vs_prior,
        coverage=joined.coverage, map_sigma2=joined.sigma2, log_likelihood=float(poses.log_likelihood.sum()),
        mean_pmax=float(poses.max_probability.mean()),
    )  # fmt: skip
    last = replace(
        before, iteration=before.iteration + 1, poses=poses, fsc=maps.fsc, resolution_shell=maps.resolution_shell(),
        changes=assignment_changes(before.poses, poses, options.symmetry),
    )  # fmt: skip
    final = Final(whole, (maps.unfiltered[0].float(), maps.unfiltered[1].float()), last)
    return Finished(final, replace(state, refinement=last, mask=maps.mask, curves=maps.curves, local=local), filtered)


def _average(maps: HalfMaps) -> Tensor:
    return 0.5 * (maps.unfiltered[0] + maps.unfiltered[1])


def _frame(images: ImageSet, before: Refinement) -> Frame:
    """Shells that are reconstructed: all of a small box, else well beyond what is resolved."""
    box = images.box_px
    reach = max(before.resolution_shell + _GROWTH_SHELLS, math.ceil(_GROWTH * before.resolution_shell))
    radius = box // 2 if box <= _WHOLE_BOX_TO_PX else min(box // 2, reach)
    return Frame(box, images.pixel_size_angstrom, radius)


def _expect(
    images: ImageSet, state: Homogeneous, options: HomogeneousOptions, frame: Frame, workers: int
) -> tuple[list[HalfSums], Poses]:
    before, poses, found = state.refinement, state.refinement.poses, []
    for number, half in enumerate(before.halves, start=1):
        chosen = indices(before.half_of, number)
        model = half_model(images, state, half, options, frame)
        sums = half_expectation(images, before.poses, model, chosen, workers)
        poses = poses.updated(chosen, sums.poses)
        found.append(sums)
    rounded = torch.round(poses.origin_px * 10.0**_DECIMALS) / 10.0**_DECIMALS
    return found, replace(poses, origin_px=rounded)


def half_model(
    images: ImageSet, state: Homogeneous, half: HalfState, options: HomogeneousOptions, frame: Frame
) -> HalfModel:
    """What the next search of one half assumes."""
    first = state.refinement.iteration == 0
    device = options.device
    plane = half_plane(frame.box_px, frame.radius).to(device)
    projector: Projector = KERNELS[options.kernel](half.reference.to(device), frame.radius, options.padding)
    levels = levels_of(images, state.refinement, options)
    reach = options.shift_range_px if first else options.later_shift_range_px
    grid = make_sampling(options.healpix_order, 0, reach, levels[0].shift_step_px, 0.0, options.symmetry)
    matrices = grid.orientations().matrices(half_turn=True).reshape(-1, 3, 3).to(device)
    shifts = translation_grid(reach, levels[0].shift_step_px).to(device)
    search = SearchModel(
        projector=projector,
        plane=plane,
        levels=levels,
        coarse=coarse_table(projector, plane, matrices, shifts, levels[0].radius),
        shell_power=largest_shell_power(projector, matrices, plane, frame.box_px // 2 + 1),
        any_scale=first,
        spread_nats=SPREAD_NATS if options.marginalise else 0.0,
        plan=CPU_PLAN if device.type == "cpu" else largest_plan(device, free_bytes(device)),
    )
    sigma2 = half.sigma2.to(device)
    preparation = Preparation(plane, _circle(images, options).to(device), sigma2, options.correct_ctf)
    return HalfModel(preparation, search, state.scale, earlier=not first, marginalise=options.marginalise)


def levels_of(images: ImageSet, refinement: Refinement, options: HomogeneousOptions) -> tuple[Level, ...]:
    """The levels of the next search."""
    shell = refinement.schedule.radius
    diameter_px = options.particle_diameter_angstrom / images.pixel_size_angstrom
    kept = KEPT if refinement.iteration < _THOROUGH_ITERATIONS else KEPT_LATER
    last = _KEPT_FOR_MARGINALS if options.marginalise else 1
    return make_levels(images.box_px, diameter_px, shell, options.healpix_order, options.shift_step_px, kept, last)


def _advanced(
    before: Refinement,
    halves: list[HalfState],
    poses: Poses,
    maps: HalfMaps,
    images: ImageSet,
    options: HomogeneousOptions,
) -> Refinement:
    """Count what the iteration brought, and choose the shells the next one compares."""
    shell, schedule = maps.resolution_shell(), before.schedule
    changes = assignment_changes(before.poses, poses, options.symmetry)
    gained = shell > schedule.best_shell
    without = 0 if gained else schedule.without_gain + 1
    limit = images.box_px // 2 - 1
    if options.highest_angstrom is not None:
        limit = min(limit, max(1, round(images.box_px * images.pixel_size_angstrom / options.highest_angstrom)))
    next_schedule = replace(
        schedule,
        radius=min(shell, limit),
        best_shell=max(shell, schedule.best_shell),
        without_gain=without,
        converged=without >= options.without_gain,
        oversampling=len(levels_of(images, before, options)) - 1,
        offset_range_px=options.later_shift_range_px,
    )
    return replace(
        before, iteration=before.iteration + 1, halves=(halves[0], halves[1]), poses=poses, schedule=next_schedule,
        fsc=maps.fsc, resolution_shell=shell, changes=changes,
    )  # fmt: skip


def _noise(sums: HalfSums, previous: Tensor, box_px: int) -> Tensor:
    counted = sums.noise_count[:, None]
    values = sums.noise / (2.0 * counted.clamp(min=1.0) * shell_pixel_counts(box_px).double())
    return torch.where(counted > 0, positive_spectra(values, previous), previous)


def _after_search(half: HalfState, sums: HalfSums, first: bool) -> HalfState:
    """The half with its noise and figures; what a first reference in any grey scale leaves is not noise."""
    noise = half.sigma2 if first else _noise(sums, half.sigma2, half.reference.shape[0])
    return replace(
        half,
        sigma2=noise,
        log_likelihood=float(sums.poses.log_likelihood.sum()),
        mean_pmax=float(sums.poses.max_probability.mean()),
    )


def _scales(state: Homogeneous, sums: list[HalfSums], half_of: NDArray[np.int64]) -> Tensor:
    """Most probable intensity of each particle, mean 1 over each half."""
    scale = state.scale.clone()
    for number, half in enumerate(sums, start=1):
        # the first reference may be in any grey scale: compare particles with their mean
        unit = half.product.sum() / half.power.sum().clamp(min=1e-300)
        power = half.power * unit**2
        value = (half.product * unit + _SCALE_PRECISION) / (power + _SCALE_PRECISION)
        value = value.clamp(*_SCALE_RANGE)
        scale[indices(half_of, number)] = value / value.mean()
    return scale


def _circle(images: ImageSet, options: HomogeneousOptions) -> Tensor:
    return soft_circle(images.box_px, options.particle_diameter_angstrom / (2.0 * images.pixel_size_angstrom))


def _directions(options: HomogeneousOptions) -> int:
    grid = make_sampling(options.healpix_order, 0, 0.0, 1.0, 0.0, options.symmetry)
    return int(grid.pixels.shape[0])
