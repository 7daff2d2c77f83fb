"""The states of our programs after an iteration that only RELION's files tell of."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.class3d_state import Class3DSettings, Class3DState
from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_files import Iteration
from cryorepro.em.refine3d import Refinement
from cryorepro.em.refine_schedule import Accuracy, Changes, Schedule
from cryorepro.em.refine_state import HalfState
from cryorepro.em.relion_restart import (
    JobShape,
    SavedModel,
    read_counters,
    read_saved_maps,
    read_saved_model,
    read_saved_poses,
    read_saved_sampling,
)
from cryorepro.em.sampling import make_sampling

_NOT_MEASURED = 999.0


def class3d_state(iteration: Iteration, shape: JobShape, settings: Class3DSettings, symmetry: Tensor) -> Class3DState:
    """The state of a classification.

    Raises:
        InputError: the files are not of this job's particles, classes or sampling.
    """
    classes = settings.number_of_classes
    model = read_saved_model(iteration.path("model.star"), shape, classes)
    sampling = read_saved_sampling(iteration.path("sampling.star"), shape.pixel_size_angstrom)
    if sampling.healpix_order != settings.healpix_order:
        raise InputError(
            f"{iteration.path('sampling.star')}: rlnHealpixOrder is {sampling.healpix_order}, "
            f"this job's is {settings.healpix_order}."
        )
    prior = _direction_priors(model, settings.healpix_order, settings.oversampling, symmetry)
    return Class3DState(
        iteration=iteration.number,
        volumes=read_saved_maps(iteration),
        poses=read_saved_poses(iteration.path("data.star"), shape)[0],
        sigma2=model.noise,
        direction_prior=prior,
        tau2=model.spectra["tau2"],
        reference_sigma2=model.spectra["sigma2"],
        data_vs_prior=model.spectra["ssnr"],
        coverage=model.spectra["coverage"],
        scale=model.scale,
        offset_sigma_angstrom=model.offset_sigma_angstrom,
        average_norm=model.average_norm,
        perturbation=sampling.perturbation,
        resolution_shell=model.resolution_shell,
        image_radius=model.image_radius,
        log_likelihood=model.log_likelihood,
        average_pmax=model.average_pmax,
    )


def refinement_state(iteration: Iteration, shape: JobShape, local_order: int, symmetry: Tensor) -> Refinement:
    """The state of a gold-standard refinement.

    Raises:
        InputError: the files are not of this job's particles, or do not say which half each is in.
    """
    pixel, box = shape.pixel_size_angstrom, shape.box_px
    models = [read_saved_model(path, shape, 1) for path in iteration.models]
    poses, half_of = read_saved_poses(iteration.path("data.star"), shape)
    if set(np.unique(half_of).tolist()) != {1, 2}:
        raise InputError(f"{iteration.path('data.star')}: rlnRandomSubset must hold 1 and 2, and nothing else.")
    sampling = read_saved_sampling(iteration.path("sampling.star"), pixel)
    counters = read_counters(iteration.path("optimiser.star"))
    schedule = Schedule(
        healpix_order=sampling.healpix_order,
        oversampling=int(counters["rlnAdaptiveOversampleOrder"]),
        offset_range_px=sampling.offset_range_px,
        offset_step_px=sampling.offset_step_px,
        radius=box // 2,
        finest_order=max(sampling.healpix_order, 7),
        local_order=local_order,
        best_shell=round(counters["rlnBestResolutionThusFar"] * box * pixel),
        without_gain=int(counters["rlnNumberOfIterWithoutResolutionGain"]),
        without_change=int(counters["rlnNumberOfIterWithoutChangingAssignments"]),
        smallest_rotation_deg=_measured(counters["rlnSmallestChangesOrientations"]),
        smallest_offset_px=_measured(counters["rlnSmallestChangesOffsets"]) / pixel,
    )
    fsc, shell = models[0].spectra["fsc"][0], max(1, min(model.resolution_shell for model in models))
    pmax = sum(model.average_pmax for model in models) / 2.0
    at_limit = float(fsc[max(1, min(models[0].image_radius, box // 2)) - 1])
    maps = read_saved_maps(iteration)
    halves = [_half(model, maps[i], schedule, symmetry, pixel) for i, model in enumerate(models)]
    return Refinement(
        iteration=iteration.number,
        halves=(halves[0], halves[1]),
        half_of=half_of,
        poses=poses,
        schedule=schedule.resized(box, shell, pmax, at_limit),
        perturbation=sampling.perturbation,
        fsc=fsc,
        resolution_shell=shell,
        accuracy=Accuracy(
            _measured(counters["rlnOverallAccuracyRotations"]),
            _measured(counters["rlnOverallAccuracyTranslationsAngst"]) / pixel,
        ),
        changes=Changes(
            _measured(counters["rlnChangesOptimalOrientations"]),
            _measured(counters["rlnChangesOptimalOffsets"]) / pixel,
        ),
    )


def _half(model: SavedModel, volume: Tensor, schedule: Schedule, symmetry: Tensor, pixel: float) -> HalfState:
    prior = _direction_priors(model, schedule.healpix_order, schedule.oversampling, symmetry)[0]
    return HalfState(
        reference=volume,
        sigma2=model.noise,
        scale=model.scale,
        direction_prior=prior,
        offset_sigma_px=model.offset_sigma_angstrom / pixel,
        average_norm=model.average_norm,
        tau2=model.spectra["tau2"][0],
        ssnr=model.spectra["ssnr"][0],
        coverage=model.spectra["coverage"][0],
        map_sigma2=model.spectra["sigma2"][0],
        log_likelihood=model.log_likelihood,
        mean_pmax=model.average_pmax,
    )


def _direction_priors(model: SavedModel, order: int, oversampling: int, symmetry: Tensor) -> Tensor:
    """``[k, d]``, summing to 1: as saved, or even where the saved asymmetric unit has other directions than ours."""
    count = int(make_sampling(order, oversampling, 1.0, 1.0, 0.0, symmetry).pixels.shape[0])
    shares = [float(prior.sum()) for prior in model.direction_prior]
    same = symmetry.shape[0] == 1 and all(prior.shape[0] == count for prior in model.direction_prior)
    priors = model.direction_prior if same else [torch.full((count,), s / count).double() for s in shares]
    # no direction is ruled out for good because a file rounds it to zero
    floored = torch.stack([prior + 1e-3 * s / count for prior, s in zip(priors, shares, strict=True)])
    return floored / floored.sum()


def _measured(value: float) -> float:
    return math.inf if value >= _NOT_MEASURED else value
