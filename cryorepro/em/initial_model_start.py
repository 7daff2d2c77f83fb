"""The state before the first mini-batch: particles back-projected at random orientations."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cryorepro.em.class3d_state import Class3DState
from cryorepro.em.half_sets import unregularised
from cryorepro.em.imageset import Poses
from cryorepro.em.initial_model import InitialModelJob
from cryorepro.em.initial_model_schedule import mini_batch
from cryorepro.em.initial_model_state import InitialModelState
from cryorepro.em.masks import soft_circle, soft_sphere
from cryorepro.em.noise import initial_noise
from cryorepro.em.pose_reconstruction import sums_from_poses
from cryorepro.em.rotations import matrix_to_euler, random_rotations
from cryorepro.em.sampling import asymmetric_unit
from cryorepro.em.streams import random_stream
from cryorepro.em.symmetry import symmetry_matrices


def start_state(job: InitialModelJob) -> InitialModelState:
    """A blob per class and nothing else: no pose or offset of the particles' table is used."""
    settings, images = job.settings, job.images
    classes, shells, count = settings.number_of_classes, images.box_px // 2 + 1, len(images)
    poses = Poses.start(count)
    group = torch.from_numpy(symmetry_matrices(settings.running_symmetry))
    directions = asymmetric_unit(settings.healpix_order, group).shape[0]
    empty = torch.zeros(classes, shells, dtype=torch.float64)
    model = Class3DState(
        iteration=0,
        volumes=random_blob(job)[None].repeat(classes, 1, 1, 1),
        poses=poses,
        sigma2=initial_noise(images, poses, soft_circle(images.box_px, job.mask_radius_px), job.workers),
        direction_prior=torch.full((classes, directions), 1.0 / (classes * directions), dtype=torch.float64),
        tau2=empty,
        reference_sigma2=empty,
        data_vs_prior=empty,
        coverage=empty,
        scale=torch.ones(images.scale_groups, dtype=torch.float64),
        offset_sigma_angstrom=settings.offset_sigma_angstrom,
        average_norm=1.0,
        perturbation=0.0,
        resolution_shell=job.shell(settings.initial_resolution_angstrom),
        image_radius=0,
        log_likelihood=0.0,
        average_pmax=0.0,
    )
    box = (images.box_px,) * 3
    return InitialModelState(model, torch.zeros(classes, *box), empty.clone())


def random_blob(job: InitialModelJob) -> Tensor:
    """A map ``[n, n, n]`` of the first mini-batch's particles, each at an orientation drawn from the seed."""
    settings, images = job.settings, job.images
    index = mini_batch(settings, 1, len(images), job.seed)
    generator = torch.Generator().manual_seed(int(random_stream(job.seed, "first-orientations").integers(2**62)))
    poses = Poses.start(len(images))
    poses = replace(poses, euler_deg=matrix_to_euler(random_rotations(len(images), generator)))
    radius = job.shell(settings.initial_resolution_angstrom)
    group = torch.from_numpy(symmetry_matrices(settings.running_symmetry))
    sums = sums_from_poses(images, poses, index, radius, group, settings.padding, settings.ctf)
    volume = unregularised([sums], images.box_px, radius, settings.padding)[0].float()
    volume = volume * soft_sphere(images.box_px, job.mask_radius_px)
    return volume.clamp(min=0.0) if settings.positivity else volume
