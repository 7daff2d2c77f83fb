"""A map from particles alone: stochastic gradient ascent of the likelihood from randomly oriented particles.

Punjani et al. 2017 (Nature Methods 14, 290) introduced mini-batch gradients to cryo-EM; the three phases, the growing
batches and the momentum are those of RELION 3.1. The gradient is preconditioned by the running curvature of
each shell, so that one step size suits every shell, class and grey scale. All randomness derives from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.class3d_state import Class3DState
from cryorepro.em.devices.choice import CPU
from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation import Expectation, expectation
from cryorepro.em.expectation_plan import planned
from cryorepro.em.fourier import half_plane
from cryorepro.em.imageset import ImageSet
from cryorepro.em.initial_model_gradient import batch_gradient, preconditioned, running_curvature, shell_weight
from cryorepro.em.initial_model_schedule import Step, dealt_classes, mini_batch, step_at
from cryorepro.em.initial_model_state import InitialModelSettings, InitialModelState
from cryorepro.em.masks import soft_circle, soft_sphere
from cryorepro.em.maximisation import updated_directions, updated_noise, updated_offset_sigma_px
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector
from cryorepro.em.reconstruction import reference_power, symmetrise
from cryorepro.em.sampling import Sampling, make_sampling
from cryorepro.em.streams import random_stream
from cryorepro.em.symmetry import symmetry_matrices

# Fixed, so that sums have the same bits on any number of workers; small, so that a mini-batch keeps several busy.
_CHUNK = 32
_FIRST_SHELL_WITH_PRIOR = 5
_OFF_CENTRE_PX = 1.0
_NO_SIGNAL = 1e-20


@dataclass(frozen=True)
class InitialModelJob:
    """The particles, what is asked for, the seed, the number of workers, and where expectation steps run.

    Gradients and the state between iterations are on the CPU.
    """

    images: ImageSet
    settings: InitialModelSettings
    seed: int
    workers: int = 1
    device: torch.device = CPU

    @property
    def mask_radius_px(self) -> float:
        """Radius of the particle mask in pixels."""
        return self.settings.particle_diameter_angstrom / 2.0 / self.images.pixel_size_angstrom

    def shell(self, resolution_angstrom: float) -> int:
        """Fourier shell of a resolution, within the box."""
        extent = self.images.box_px * self.images.pixel_size_angstrom
        return max(1, min(round(extent / resolution_angstrom), self.images.box_px // 2 - 1))


def climb(job: InitialModelJob, state: InitialModelState) -> Iterator[InitialModelState]:
    """Yield the state after every remaining iteration; ``state`` is the start or any saved iteration."""
    while state.iteration < job.settings.iterations:
        state = iterate(job, state)
        yield state


def iterate(job: InitialModelJob, state: InitialModelState) -> InitialModelState:
    """One mini-batch: expectation, gradient, step, constraints, and the running means."""
    number = state.iteration + 1
    step = step_at(job.settings, number)
    if step.classes > 1 and step_at(job.settings, number - 1).classes == 1:
        state = _parted(state)
    index = mini_batch(job.settings, number, len(job.images), job.seed)
    radius = job.shell(step.resolution_angstrom)
    volumes = state.model.volumes[: step.classes].to(job.device)
    projectors = tuple(Projector(volume, radius, job.settings.padding) for volume in volumes)
    model = _estep_model(job, state.model, projectors, step, number)
    sums = expectation(job.images, state.model.poses, model, job.workers, index, _CHUNK)
    sums = replace(sums, grids=[grid.cpu() for grid in sums.grids])
    power = [reference_power(p.grid, job.images.box_px, radius, job.settings.padding) for p in projectors]
    tau2 = torch.stack(power).cpu()
    moved = _moved(job, state, sums, tau2, step)
    return replace(moved, model=_updated(job, moved.model, sums, index, radius, tau2, step))


def _parted(state: InitialModelState) -> InitialModelState:
    """Every class takes the map of the first phase, and its velocity."""
    classes = state.velocity.shape[0]
    return InitialModelState(
        replace(state.model, volumes=state.model.volumes[:1].repeat(classes, 1, 1, 1)),
        state.velocity[:1].repeat(classes, 1, 1, 1),
        state.curvature[:1].repeat(classes, 1) / classes,
    )


def _sampling(job: InitialModelJob, number: int) -> Sampling:
    settings = job.settings
    draw = float(random_stream(job.seed, f"perturbation/{number}").random())
    return make_sampling(
        settings.healpix_order, settings.oversampling, settings.offset_range_px, settings.offset_step_px,
        settings.perturbation * (2.0 * draw - 1.0), _symmetry(settings),
    )  # fmt: skip


def _symmetry(settings: InitialModelSettings) -> Tensor:
    return torch.from_numpy(symmetry_matrices(settings.running_symmetry))


def _estep_model(
    job: InitialModelJob, state: Class3DState, projectors: tuple[Projector, ...], step: Step, number: int
) -> EstepModel:
    settings, images = job.settings, job.images
    radius = projectors[0].max_radius
    sampling = _sampling(job, number)
    directions = int(sampling.pixels.shape[0])
    uniform = 1.0 / (step.classes * directions)
    model = EstepModel(
        projectors=projectors,
        sampling=sampling,
        preparation=Preparation(
            plane=half_plane(images.box_px, radius).to(job.device),
            mask=soft_circle(images.box_px, job.mask_radius_px).to(job.device),
            sigma2=(step.noise_factor * state.sigma2).to(job.device),
            correct_ctf=settings.ctf,
            fill_seed=None if settings.zero_mask else job.seed,
        ),
        coarse_shell=radius,
        # which classes and directions are frequent is not known yet: what happens to be found first must not win
        log_prior=torch.full((step.classes, directions), uniform, dtype=torch.float64).log().to(job.device),
        offset_sigma_px=state.offset_sigma_angstrom / images.pixel_size_angstrom,
        scale=state.scale,
        score_with_ctf=settings.ctf,
        adaptive_fraction=settings.adaptive_fraction,
        only_class=dealt_classes(settings, len(images), job.seed) if step.dealt else None,
    )
    # mini-batches fit any CPU's memory
    return model if job.device.type == "cpu" else replace(model, plan=planned(model, images, job.workers))


def _moved(
    job: InitialModelJob, state: InitialModelState, sums: Expectation, tau2: Tensor, step: Step
) -> InitialModelState:
    """Maps, velocities and curvatures after the step of this mini-batch."""
    settings, box = job.settings, job.images.box_px
    volumes, velocity, curvature = state.model.volumes.clone(), state.velocity.clone(), state.curvature.clone()
    radius = job.shell(step.resolution_angstrom)
    share = sums.poses.euler_deg.shape[0] / len(job.images)
    sphere = soft_sphere(box, job.mask_radius_px)
    for k, grid in enumerate(sums.grids):
        data = symmetrise(grid, _symmetry(settings)) if settings.symmetrise_during else grid
        prior = share * _prior(tau2[k], settings)
        gradient = batch_gradient(data, volumes[k], prior, radius, settings.padding)
        seen = shell_weight(gradient.weight, box, radius, settings.padding)
        curvature[k] = running_curvature(curvature[k], seen, settings.momentum)
        newton = preconditioned(gradient, curvature[k], prior, radius, box, settings.padding)
        velocity[k] = settings.momentum * velocity[k] + (1.0 - settings.momentum) * newton.float()
        volume = (volumes[k] + step.size * velocity[k]) * sphere
        volumes[k] = volume.clamp(min=0.0) if settings.positivity else volume
        if _follows(settings, state.iteration):
            away = towards_centre(volumes[k])
            volumes[k], velocity[k] = volumes[k].roll(away, (0, 1, 2)), velocity[k].roll(away, (0, 1, 2))
    return InitialModelState(replace(state.model, volumes=volumes), velocity, curvature)


def _follows(settings: InitialModelSettings, done: int) -> bool:
    """Whether maps are moved: not in the last phase, nor where a symmetry says where the centre is."""
    moving = settings.initial_iterations + settings.inbetween_iterations
    return settings.centre and settings.running_symmetry == "C1" and done < moving


def towards_centre(volume: Tensor) -> tuple[int, int, int]:
    """By how many voxels (z, y, x), -1, 0 or 1 each, a map's positive density has to move towards the origin voxel.

    A map that has drifted is cut by the sphere around it, and what is cut looks like another particle: a barrel that
    lost a ring has its axes elsewhere. One voxel an iteration is less than the offsets that are searched.
    """
    density = volume.double().clamp(min=0.0)
    total = density.sum()
    if not total > 0.0:
        return 0, 0, 0
    places = torch.arange(volume.shape[0], dtype=torch.float64) - volume.shape[0] // 2
    means = [float((density.sum(dim=[d for d in range(3) if d != axis]) * places).sum() / total) for axis in range(3)]
    z, y, x = (-int(mean > _OFF_CENTRE_PX) + int(mean < -_OFF_CENTRE_PX) for mean in means)
    return z, y, x


def _prior(tau2: Tensor, settings: InitialModelSettings) -> Tensor:
    """Curvature ``[n / 2 + 1]`` of the prior; none on the first shells, nor where the map has no power yet."""
    curvature = 1.0 / (settings.padding**3 * settings.tau2_fudge * tau2.clamp(min=_NO_SIGNAL))
    shells = torch.arange(tau2.shape[0])
    return torch.where((shells >= _FIRST_SHELL_WITH_PRIOR) & (tau2 > _NO_SIGNAL), curvature, 0.0)


def _updated(
    job: InitialModelJob, state: Class3DState, sums: Expectation, index: Tensor, radius: int, tau2: Tensor, step: Step
) -> Class3DState:
    """Poses of the batch's particles, and running means of noise, offsets and class shares."""
    settings, images = job.settings, job.images
    keep = settings.momentum
    noise = updated_noise(sums, state.sigma2, images.box_px)
    sigma = updated_offset_sigma_px(sums) * images.pixel_size_angstrom
    shares = torch.zeros_like(state.direction_prior)
    shares[: step.classes] = updated_directions(sums)
    poses = replace(sums.poses, norm=torch.ones_like(sums.poses.norm))
    spectra = torch.zeros_like(state.tau2)
    spectra[: step.classes] = tau2
    return replace(
        state,
        iteration=state.iteration + 1,
        poses=state.poses.updated(index, poses),
        sigma2=keep * state.sigma2 + (1.0 - keep) * noise,
        direction_prior=keep * state.direction_prior + (1.0 - keep) * shares,
        tau2=spectra,
        offset_sigma_angstrom=keep * state.offset_sigma_angstrom + (1.0 - keep) * sigma,
        resolution_shell=radius,
        image_radius=radius,
        log_likelihood=float(poses.log_likelihood.sum()) * len(images) / index.shape[0],
        average_pmax=float(poses.max_probability.mean()),
    )
