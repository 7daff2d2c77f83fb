"""The state of a 2D classification after an iteration that only RELION's files tell of."""

from __future__ import annotations

import numpy as np
import torch

from cryorepro.em.class2d_grid import angle_count
from cryorepro.em.class2d_references import read_image_references
from cryorepro.em.class2d_state import Class2DSettings, Class2DState
from cryorepro.em.errors import InputError
from cryorepro.em.formats.relion_files import Iteration
from cryorepro.em.formats.star import read_star
from cryorepro.em.relion_restart import JobShape, read_saved_model, read_saved_poses

_SAME_STEP_DEGREES = 1e-3


def class2d_state(iteration: Iteration, shape: JobShape, settings: Class2DSettings) -> Class2DState:
    """The state to go on from.

    Raises:
        InputError: the files are not of this job's particles, classes or angular step.
    """
    classes, path = settings.number_of_classes, iteration.path("model.star")
    model, blocks = read_saved_model(path, shape, classes), read_star(path)
    table = blocks["model_classes"]
    fractions = torch.from_numpy(table.numbers("rlnClassDistribution"))
    offsets = np.stack([table.numbers(f"rlnClassPriorOffset{axis}") for axis in "XY"], axis=1)
    return Class2DState(
        iteration=iteration.number,
        averages=read_image_references(iteration.maps[0], classes, shape.box_px),
        poses=read_saved_poses(iteration.path("data.star"), shape)[0],
        sigma2=model.noise,
        class_fractions=fractions / fractions.sum(),
        class_offset_px=torch.from_numpy(offsets),
        tau2=model.spectra["tau2"],
        reference_sigma2=model.spectra["sigma2"],
        data_vs_prior=model.spectra["ssnr"],
        coverage=model.spectra["coverage"],
        scale=model.scale,
        offset_sigma_angstrom=model.offset_sigma_angstrom,
        average_norm=model.average_norm,
        perturbation=_perturbation(iteration, settings),
        resolution_shell=model.resolution_shell,
        image_radius=model.image_radius,
        log_likelihood=model.log_likelihood,
        average_pmax=model.average_pmax,
    )


def _perturbation(iteration: Iteration, settings: Class2DSettings) -> float:
    path = iteration.path("sampling.star")
    blocks = read_star(path)
    if "sampling_general" not in blocks:
        raise InputError(f"{path}: the table data_sampling_general is missing.")
    general = blocks["sampling_general"]
    step, own = float(general.numbers("rlnPsiStep")[0]), 360.0 / angle_count(settings.psi_step_degrees)
    if abs(step - own) > _SAME_STEP_DEGREES:
        raise InputError(f"{path}: rlnPsiStep is {step:g}, this job's is {own:g}.")
    return float(general.numbers("rlnSamplingPerturbInstance")[0])
