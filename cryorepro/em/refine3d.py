"""Gold-standard refinement: two halves that never see each other beyond the coarsest shells.

Every iteration runs the expectation step on each half with its own reference, joins the sums of the coarse
shells, measures the FSC of the halves, and rebuilds each half with the signal prior that FSC gives.  See
:mod:`cryorepro.em.refine_schedule` for when the search becomes finer and when it ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.assignment_accuracy import PARTICLES_USED, assignment_changes, estimate_accuracy
from cryorepro.em.errors import InputError
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation import Expectation, expectation
from cryorepro.em.fsc import crossing
from cryorepro.em.half_sets import (
    half_map_fsc,
    join_low_resolution,
    prior_from_fsc,
    solvent_corrected_fsc,
    unregularised,
)
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.local_search_expectation import local_expectation
from cryorepro.em.lowpass import Volume, check_cubic, fourier_radius, multiply_fourier, raised_cosine
from cryorepro.em.maximisation import ReconstructionPlan, reconstruct_classes
from cryorepro.em.noise import initial_noise
from cryorepro.em.reconstruction import reconstruct, symmetrise
from cryorepro.em.refine_schedule import Accuracy, Changes, Schedule
from cryorepro.em.refine_state import (
    HalfState,
    RefineOptions,
    estep_model,
    flattened,
    particle_mask,
    start_half,
    updated,
)
from cryorepro.em.sampling import Sampling, make_sampling, next_perturbation
from cryorepro.em.streams import random_stream

_ORIGIN_DECIMALS = 9
"""Shifts are kept to 1e-9 pixels, so that a state read back from a file is the same state."""


@dataclass(frozen=True)
class Refinement:
    """Everything between two iterations: what resuming needs.

    Attributes:
        iteration: the last finished one.
        halves: the two models.
        half_of: ``[n]`` int64, 1 or 2.
        poses: of all particles.
        schedule: sampling, size and convergence.
        perturbation: of the last sampling grid, in units of its step.
        fsc: ``[box / 2 + 1]`` of the half maps.
        resolution_shell: last shell whose signal outweighs the noise.
        accuracy, changes: of the last iteration.
    """

    iteration: int
    halves: tuple[HalfState, HalfState]
    half_of: NDArray[np.int64]
    poses: Poses
    schedule: Schedule
    perturbation: float
    fsc: Tensor
    resolution_shell: int
    accuracy: Accuracy = Accuracy(math.inf, math.inf)
    changes: Changes = Changes(math.inf, math.inf)


@dataclass(frozen=True)
class Final:
    """The joined result of the last iteration.

    ``halves`` are the unfiltered half maps, ``state`` the model of the joined map, whose ``reference`` it is.
    """

    state: HalfState
    halves: tuple[Tensor, Tensor]
    refinement: Refinement


def start(
    images: ImageSet,
    poses: Poses,
    references: Sequence[NDArray[np.floating]],
    half_of: NDArray[np.int64],
    schedule: Schedule,
    options: RefineOptions,
    ini_high_angstrom: float,
    offset_sigma_px: float,
    workers: int,
) -> Refinement:
    """State before the first iteration: references low-passed, the noise measured on the images.

    ``references`` holds one map ``[n, n, n]`` for both halves, or one for each.
    """
    pixel_size, box = images.pixel_size_angstrom, images.box_px
    mask = particle_mask(images, options.particle_diameter_angstrom).to(options.device)
    directions = int(_sampling(schedule, options, 0.0).pixels.shape[0])
    halves = []
    for half, reference in enumerate((references[0], references[-1]), start=1):
        smooth = torch.from_numpy(_filtered(reference, ini_high_angstrom, pixel_size)).float()
        noise = initial_noise(images, poses, mask, workers, index=indices(half_of, half), ranks=options.ranks)
        halves.append(start_half(smooth, noise, images.scale_groups, directions, offset_sigma_px))
    shell = round(box * pixel_size / ini_high_angstrom)
    return Refinement(
        iteration=0,
        halves=(halves[0], halves[1]),
        half_of=half_of,
        poses=poses,
        schedule=schedule.resized(box, shell, 0.0, 0.0),
        perturbation=0.0,
        fsc=torch.zeros(box // 2 + 1, dtype=torch.float64),
        resolution_shell=shell,
    )


def _filtered(reference: NDArray[np.floating], resolution_angstrom: float, pixel_size: float) -> Volume:
    """The reference with RELION's edge, two shells about the exact resolution; like RELION's, it is not masked yet."""
    if not resolution_angstrom >= 2.0 * pixel_size:
        raise InputError(
            f"parameters.ini_high_angstrom: {resolution_angstrom:g} A is beyond Nyquist, {2.0 * pixel_size:g} A."
        )
    box = check_cubic(reference, "reference")
    shell = box * pixel_size / resolution_angstrom
    return multiply_fourier(reference, raised_cosine(fourier_radius(box), shell - 1.0, shell + 1.0))


def indices(half_of: NDArray[np.int64], half: int) -> Tensor:
    """Positions ``[m]`` of the particles of one half."""
    return torch.from_numpy(np.flatnonzero(half_of == half))


def iterate(images: ImageSet, state: Refinement, options: RefineOptions, seed: int, workers: int) -> Refinement:
    """One iteration of both halves."""
    sampling = sampling_of(state, options, seed)
    halves, found, poses = _expect(images, state, options, sampling, seed, workers)
    box, radius = images.box_px, state.schedule.radius
    grids = join_low_resolution(
        found[0].grids[0], found[1].grids[0], _shared_shells(images, state, options), options.padding
    )
    summed = [_symmetrised(grid, options) for grid in grids]
    maps = unregularised(summed, box, radius, options.padding, workers)
    fsc = _half_map_fsc(maps, state, options, radius, seed)
    rebuilt = _rebuilt(images, halves, summed, fsc, radius, options, workers)
    changes = assignment_changes(state.poses, poses, options.symmetry)
    pmax = sum(half.mean_pmax for half in rebuilt) / 2.0
    if state.iteration == 0 and options.firstiter_cc:
        resolution, schedule, pmax = state.resolution_shell, state.schedule, 0.0
    else:
        resolution = max(1, crossing(fsc.numpy(), 0.5).shell)
        schedule = state.schedule.seen(resolution, changes)
    schedule = schedule.resized(box, resolution, pmax, float(fsc[min(radius, box // 2) - 1]))
    # as RELION does, accuracies are those of the new map at the size the next iteration uses
    accuracy = _accuracy(images, poses, estep_model(rebuilt[1], images, schedule, sampling, options, False, 0), state)
    advanced = schedule.advanced(accuracy, changes)
    if advanced.healpix_order != state.schedule.healpix_order:
        rebuilt = [start_directions(half, advanced, options) for half in rebuilt]
    return Refinement(
        iteration=state.iteration + 1,
        halves=(rebuilt[0], rebuilt[1]),
        half_of=state.half_of,
        poses=poses,
        schedule=advanced,
        perturbation=sampling.perturbation,
        fsc=fsc,
        resolution_shell=resolution,
        accuracy=accuracy,
        changes=changes,
    )


def finish(images: ImageSet, state: Refinement, options: RefineOptions, seed: int, workers: int) -> Final:
    """The last iteration: all shells to Nyquist, unfiltered half maps, then one map of all particles."""
    box = images.box_px
    state = replace(state, schedule=replace(state.schedule, radius=box // 2))
    sampling = sampling_of(state, options, seed)
    halves, found, poses = _expect(images, state, options, sampling, seed, workers)
    grids = [_symmetrised(part.grids[0], options) for part in found]
    maps = unregularised(grids, box, box // 2, options.padding, workers)
    fsc = _half_map_fsc(maps, state, options, box // 2, seed)
    both = grids[0] + grids[1]
    tau2 = prior_from_fsc(fsc, both, box, box // 2, whole=True, padding=options.padding)
    joined = reconstruct(both, box, box // 2, tau2, 1.0, options.padding)
    diameter_px = options.particle_diameter_angstrom / images.pixel_size_angstrom
    whole = replace(
        halves[0],
        reference=flattened(joined.volume.cpu(), diameter_px, options),
        tau2=tau2,
        ssnr=joined.data_vs_prior.cpu(),
        coverage=joined.coverage.cpu(),
        map_sigma2=joined.sigma2.cpu(),
        log_likelihood=sum(half.log_likelihood for half in halves),
        mean_pmax=sum(half.mean_pmax for half in halves) / 2.0,
    )
    last = replace(
        state,
        iteration=state.iteration + 1,
        poses=poses,
        fsc=fsc,
        resolution_shell=max(1, crossing(fsc.numpy(), 0.143).shell),
        perturbation=sampling.perturbation,
        changes=assignment_changes(state.poses, poses, options.symmetry),
    )
    return Final(whole, (maps[0].float(), maps[1].float()), last)


def run(
    images: ImageSet, state: Refinement, options: RefineOptions, seed: int, workers: int, maximum: int
) -> Iterator[Refinement]:
    """Yield the state after every iteration until convergence or ``maximum`` iterations."""
    while not state.schedule.converged and state.iteration < maximum:
        state = iterate(images, state, options, seed, workers)
        yield state


def sampling_of(state: Refinement, options: RefineOptions, seed: int) -> Sampling:
    """The grid of the iteration after ``state``; its perturbation is drawn from the seed and the iteration."""
    uniform = float(random_stream(seed, f"perturbation {state.iteration + 1}").random())
    return _sampling(state.schedule, options, next_perturbation(state.perturbation, options.perturbation, uniform))


def _sampling(schedule: Schedule, options: RefineOptions, perturbation: float) -> Sampling:
    return make_sampling(
        schedule.healpix_order,
        schedule.oversampling,
        schedule.offset_range_px,
        schedule.offset_step_px,
        perturbation,
        options.symmetry,
    )


def _expect(
    images: ImageSet, state: Refinement, options: RefineOptions, sampling: Sampling, seed: int, workers: int
) -> tuple[list[HalfState], list[Expectation], Poses]:
    first = state.iteration == 0
    halves: list[HalfState] = []
    found: list[Expectation] = []
    poses = state.poses
    for number, half in enumerate(state.halves, start=1):
        fill = (seed * 1009 + state.iteration) % 2**31
        model = estep_model(half, images, state.schedule, sampling, options, first, fill, workers)
        chosen = indices(state.half_of, number)
        if _is_local(state, options):
            result = local_expectation(images, state.poses, model, options.symmetry, workers, chosen, options.ranks)
        else:
            result = expectation(images, state.poses, model, workers, chosen, ranks=options.ranks)
        poses = poses.updated(chosen, result.poses)
        members = torch.bincount(images.scale_group[chosen], minlength=images.scale_groups)
        halves.append(updated(half, result, members, options, model.cross_correlation))
        found.append(result)
    if not options.norm:
        poses = replace(poses, norm=torch.ones_like(poses.norm))
    scale = 10.0**_ORIGIN_DECIMALS
    return halves, found, replace(poses, origin_px=torch.round(poses.origin_px * scale) / scale)


def _is_local(state: Refinement, options: RefineOptions) -> bool:
    """Search around the particles' orientations: on a fine grid, and once they have any."""
    oriented = state.iteration > 0 or (options.poses_are_given and not options.firstiter_cc)
    return state.schedule.is_local and oriented


def _shared_shells(images: ImageSet, state: Refinement, options: RefineOptions) -> int:
    """Shells in which the halves share their sums: out to the limit, but never beyond what is resolved."""
    limit = math.ceil(images.box_px * images.pixel_size_angstrom / options.join_halves_angstrom)
    return min(limit, state.resolution_shell)


def _half_map_fsc(maps: list[Tensor], state: Refinement, options: RefineOptions, radius: int, seed: int) -> Tensor:
    """FSC of the half maps, within the mask and corrected for it if that is asked for."""
    if not options.solvent_correct_fsc or options.solvent_mask is None:
        return half_map_fsc(maps[0], maps[1], radius)
    generator = random_stream(seed, f"phases {state.iteration + 1}")
    return solvent_corrected_fsc(maps[0], maps[1], options.solvent_mask, radius, generator)


def _symmetrised(grid: Tensor, options: RefineOptions) -> Tensor:
    return symmetrise(grid, options.symmetry) if options.symmetry.shape[0] > 1 else grid


def _rebuilt(
    images: ImageSet,
    halves: list[HalfState],
    grids: list[Tensor],
    fsc: Tensor,
    radius: int,
    options: RefineOptions,
    workers: int,
) -> list[HalfState]:
    """Both halves with their new maps, regularised by the prior of their FSC."""
    box, padding = images.box_px, options.padding
    tau2 = torch.stack([prior_from_fsc(fsc, grid, box, radius, whole=False, padding=padding) for grid in grids])
    made = reconstruct_classes(grids, tau2, ReconstructionPlan(box, radius, 1.0, padding, None), workers, options.ranks)
    diameter_px = options.particle_diameter_angstrom / images.pixel_size_angstrom
    return [
        replace(
            half,
            reference=flattened(part.volume, diameter_px, options),
            tau2=prior,
            ssnr=part.data_vs_prior,
            coverage=part.coverage,
            map_sigma2=part.sigma2,
        )
        for half, part, prior in zip(halves, made, tau2, strict=True)
    ]


def _accuracy(images: ImageSet, poses: Poses, model: EstepModel, state: Refinement) -> Accuracy:
    """Estimated on the first particles of the half that ``model`` belongs to."""
    return estimate_accuracy(images, poses, model, indices(state.half_of, 2)[:PARTICLES_USED])


def start_directions(half: HalfState, schedule: Schedule, options: RefineOptions) -> HalfState:
    """The model with a uniform prior over the directions of a new grid."""
    count = int(_sampling(schedule, options, 0.0).pixels.shape[0])
    return replace(half, direction_prior=torch.full((count,), 1.0 / count, dtype=torch.float64))
