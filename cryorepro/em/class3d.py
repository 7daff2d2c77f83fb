"""3D classification as RELION does it, one iteration at a time; all randomness derives from the run's seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.class3d_state import Class3DSettings, Class3DState
from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.estep_model import EstepModel, strict_shell
from cryorepro.em.expectation import Expectation, expectation, make_team
from cryorepro.em.expectation_plan import placed, planned
from cryorepro.em.fourier import half_plane
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.lowpass import fourier_radius, multiply_fourier
from cryorepro.em.lowpass import raised_cosine as cosine_profile
from cryorepro.em.masks import raised_cosine, soft_circle, soft_sphere
from cryorepro.em.maximisation import (
    ReconstructionPlan,
    reconstruct_classes,
    resolved_shell,
    signal_scale,
    updated_directions,
    updated_noise,
    updated_offset_sigma_px,
    updated_scales,
)
from cryorepro.em.noise import initial_noise
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector
from cryorepro.em.reconstruction import Reconstruction, reference_power
from cryorepro.em.sampling import Sampling, make_sampling, next_perturbation
from cryorepro.em.streams import random_stream
from cryorepro.em.symmetry import symmetry_matrices
from cryorepro.em.team import Team

_SIZE_INCREMENT_SHELLS = 10
_LEAST_SHELL = 5
_COARSE_KEEPSAFE = 1.2
_PLAUSIBLE_SCALE = 2.0


@dataclass(frozen=True)
class Class3DJob:
    """One classification.

    Attributes:
        images, settings, seed: what is classified and how.
        workers: processes of one thread each that the CPU's work is spread over, for each of ``ranks``.
        solvent_mask: ``[n, n, n]``; None: a sphere.
        device: where expectation and reconstruction run; the state between iterations is on the CPU.
        exact: sums in quanta: the same bits for any number of workers and ranks, and any size of chunks.
        ranks: the processes that share the particles.
    """

    images: ImageSet
    settings: Class3DSettings
    seed: int
    workers: int = 1
    solvent_mask: Tensor | None = None
    device: torch.device = CPU
    exact: bool = False
    ranks: Ranks = ALONE

    @property
    def mask_radius_px(self) -> float:
        """Radius of the particle mask in pixels."""
        return self.settings.particle_diameter_angstrom / 2.0 / self.images.pixel_size_angstrom

    @property
    def extent_angstrom(self) -> float:
        """Side of the box in Angstrom; shell s is at extent / s."""
        return self.images.box_px * self.images.pixel_size_angstrom

    def uniform(self, name: str) -> float:
        """One draw from [0, 1) of a named stream of the run's seed."""
        return float(random_stream(self.seed, name).random())


def classify(job: Class3DJob, state: Class3DState) -> Iterator[Class3DState]:
    """Yield the state after every remaining iteration; ``state`` is the start or any saved iteration."""
    with make_team(job.images, job.workers, job.device) as team:
        while state.iteration < job.settings.iterations:
            state = iterate(job, state, team)
            yield state


def start_state(job: Class3DJob, references: Tensor, poses: Poses) -> Class3DState:
    """The state before iteration 1, from references ``[1 or k, n, n, n]`` and starting poses."""
    settings, images = job.settings, job.images
    classes = settings.number_of_classes
    volumes = torch.stack([_lowpassed(job, v) for v in references]).float()
    if volumes.shape[0] == 1:
        volumes = volumes.expand(classes, -1, -1, -1)
    mask = soft_circle(images.box_px, job.mask_radius_px).to(job.device)
    shells = images.box_px // 2 + 1
    directions = _sampling(job, 0.0).pixels.shape[0]
    empty = torch.zeros(classes, shells, dtype=torch.float64)
    state = Class3DState(
        iteration=0,
        volumes=volumes,
        poses=poses,
        sigma2=initial_noise(images, poses, mask, job.workers, ranks=job.ranks),
        direction_prior=torch.full((classes, directions), 1.0 / (classes * directions), dtype=torch.float64),
        tau2=empty,
        reference_sigma2=empty,
        data_vs_prior=empty,
        coverage=empty,
        scale=torch.ones(images.scale_groups, dtype=torch.float64),
        offset_sigma_angstrom=settings.offset_sigma_angstrom,
        average_norm=1.0,
        perturbation=settings.perturbation * (job.uniform("perturbation/0") - 0.5),
        resolution_shell=0,
        image_radius=0,
        log_likelihood=0.0,
        average_pmax=0.0,
    )
    return _with_expected_resolution(job, state)


def iterate(job: Class3DJob, state: Class3DState, team: Team | None = None) -> Class3DState:
    """One iteration: expectation, reconstruction, and the update of every other parameter.

    Without a ``team`` for the job's images, workers are forked for this iteration alone.
    """
    settings, number = job.settings, state.iteration + 1
    by_correlation = settings.firstiter_cc and number == 1
    draw = job.uniform(f"perturbation/{number}")
    perturbation = next_perturbation(state.perturbation, settings.perturbation, draw)
    radius = image_radius(job, state)
    projectors = _projectors(job, state.volumes, radius)
    tau2 = _spectra(job, projectors, radius)
    model = _estep_model(job, state, projectors, _sampling(job, perturbation), radius, number)
    sums = expectation(job.images, state.poses, model, job.workers, team=team, ranks=job.ranks)
    if by_correlation:
        tau2 = _prior_of_first_reference(job, tau2, sums, state.resolution_shell)
    made = _reconstruct(job, sums, tau2, radius)
    if _is_seeding_by_correlation(job, number):
        made, tau2 = [made[0]] * len(made), tau2[:1].expand_as(tau2)
    state = replace(state, iteration=number, perturbation=perturbation, image_radius=radius, tau2=tau2)
    return _updated(job, state, sums, made)


def image_radius(job: Class3DJob, state: Class3DState) -> int:
    """Fourier radius of the next iteration: ten shells beyond what is resolved, within the box."""
    return min(state.resolution_shell + _SIZE_INCREMENT_SHELLS, job.images.box_px // 2)


def coarse_shell(job: Class3DJob, sampling: Sampling, radius: int) -> int:
    """Fourier radius of the coarse pass: where one angular step moves the particle's edge by a wave.

    RELION's rule, ml_optimiser.cpp updateImageSizeAndResolutionPointers.
    """
    arc = sampling.psi_step_deg / 360.0 * math.pi * job.settings.particle_diameter_angstrom
    return min(radius, math.ceil(job.extent_angstrom / (arc / _COARSE_KEEPSAFE)))


def _sampling(job: Class3DJob, perturbation: float) -> Sampling:
    settings = job.settings
    return make_sampling(
        settings.healpix_order, settings.oversampling, settings.offset_range_px, settings.offset_step_px,
        perturbation, _symmetry(settings),
    )  # fmt: skip


def _symmetry(settings: Class3DSettings) -> Tensor:
    return torch.from_numpy(symmetry_matrices(settings.symmetry).copy())


def _estep_model(
    job: Class3DJob,
    state: Class3DState,
    projectors: tuple[Projector, ...],
    sampling: Sampling,
    radius: int,
    number: int,
) -> EstepModel:
    settings, images = job.settings, job.images
    preparation = Preparation(
        plane=half_plane(images.box_px, radius).to(job.device),
        mask=soft_circle(images.box_px, job.mask_radius_px).to(job.device),
        sigma2=state.sigma2.to(job.device),
        correct_ctf=settings.ctf,
        average_norm=state.average_norm,
        fill_seed=None if settings.zero_mask else job.seed,
    )
    coarse = radius if settings.oversampling == 0 else coarse_shell(job, sampling, radius)
    compared = strict_shell(job.extent_angstrom, settings.strict_highres_angstrom, radius)
    model = EstepModel(
        projectors=projectors,
        sampling=sampling,
        preparation=preparation,
        coarse_shell=coarse if compared is None else compared,
        log_prior=torch.log(state.direction_prior).to(job.device),
        offset_sigma_px=state.offset_sigma_angstrom / images.pixel_size_angstrom,
        scale=state.scale,
        score_with_ctf=settings.ctf and (settings.ctf_corrected_ref or number > 1),
        cross_correlation=settings.firstiter_cc and number == 1,
        adaptive_fraction=settings.adaptive_fraction,
        only_class=_seed_classes(job, state, number),
        score_shell=compared,
        reduced_precision=settings.reduced_precision,
    )
    return replace(model, plan=planned(model, images, job.workers, job.ranks.local_size, job.exact))


def _seed_classes(job: Class3DJob, state: Class3DState, number: int) -> Tensor | None:
    """Which single class each particle may join: the first under cross-correlation, then one at random.

    Random classes are dealt once, in equal shares, to make the classes of one reference differ.
    """
    settings, count = job.settings, len(job.images)
    classes = settings.number_of_classes
    if classes == 1:
        return None
    if settings.firstiter_cc and number == 1:
        return torch.zeros(count, dtype=torch.int64) if _is_seeding_by_correlation(job, number) else None
    if not all(torch.equal(volume, state.volumes[0]) for volume in state.volumes[1:]):
        return None
    shuffled = torch.from_numpy(random_stream(job.seed, "class-seeds").permutation(count).copy())
    allowed = torch.empty(count, dtype=torch.int64)
    allowed[shuffled] = torch.arange(count) * classes // count
    return allowed


def _is_seeding_by_correlation(job: Class3DJob, number: int) -> bool:
    return job.settings.firstiter_cc and number == 1 and job.settings.number_of_classes > 1


def _reconstruct(job: Class3DJob, sums: Expectation, tau2: Tensor, radius: int) -> list[Reconstruction]:
    settings = job.settings
    plan = ReconstructionPlan(job.images.box_px, radius, settings.tau2_fudge, settings.padding, _symmetry(settings))
    return reconstruct_classes(sums.grids, tau2, plan, job.workers, job.ranks)


def _updated(job: Class3DJob, state: Class3DState, sums: Expectation, made: list[Reconstruction]) -> Class3DState:
    settings, images = job.settings, job.images
    by_correlation = settings.firstiter_cc and state.iteration == 1
    volumes = torch.stack([part.volume for part in made]).float()
    if settings.flatten_solvent:
        volumes = volumes * _solvent_mask(job)
    data_vs_prior = torch.stack([part.data_vs_prior for part in made])
    members = torch.bincount(images.scale_group, minlength=images.scale_groups).double()
    scale = state.scale
    if settings.scale and not by_correlation:
        scale = updated_scales(sums, data_vs_prior, members, scale)
    sigma = updated_offset_sigma_px(sums) * images.pixel_size_angstrom
    norm = sums.poses.norm if settings.norm else torch.ones_like(sums.poses.norm)
    likelihood = sums.poses.log_likelihood
    directions = updated_directions(sums)
    if _is_seeding_by_correlation(job, state.iteration):
        directions = directions[:1].expand_as(directions) / settings.number_of_classes
    return replace(
        state,
        volumes=volumes,
        poses=replace(sums.poses, norm=norm),
        sigma2=state.sigma2 if by_correlation else updated_noise(sums, state.sigma2, images.box_px),
        direction_prior=directions.contiguous(),
        reference_sigma2=torch.stack([part.sigma2 for part in made]),
        data_vs_prior=data_vs_prior,
        coverage=torch.stack([part.coverage for part in made]),
        scale=scale,
        offset_sigma_angstrom=state.offset_sigma_angstrom if settings.fix_offset_sigma else sigma,
        average_norm=float(norm.mean()),
        resolution_shell=resolved_shell(data_vs_prior, _LEAST_SHELL),
        log_likelihood=float(likelihood.mean() if by_correlation else likelihood.sum()),
        average_pmax=float(sums.poses.max_probability.mean()),
    )


def _with_expected_resolution(job: Class3DJob, state: Class3DState) -> Class3DState:
    """Fill in what the references promise: their spectra, and the shell to start from."""
    images, settings = job.images, job.settings
    radius = images.box_px // 2 - 1
    tau2 = _spectra(job, _projectors(job, state.volumes, radius), radius)
    per_class = len(images) / settings.number_of_classes
    # a shell of radius s gets one coefficient in 2 s from a slice
    shells = 2.0 * torch.arange(tau2.shape[1], dtype=torch.float64).clamp(min=1.0)
    data_vs_prior = tau2 * per_class / (shells * state.sigma2.mean(dim=0))
    shell = resolved_shell(data_vs_prior, _LEAST_SHELL)
    if settings.ini_high_angstrom is not None:
        shell = max(1, round(job.extent_angstrom / settings.ini_high_angstrom))
    return replace(state, tau2=tau2, data_vs_prior=data_vs_prior, resolution_shell=min(shell, radius))


def _projectors(job: Class3DJob, volumes: Tensor, radius: int) -> tuple[Projector, ...]:
    """One for every volume, the same for all if the volumes are, as they are at first."""

    def made(volume: Tensor) -> Projector:
        return placed(Projector(volume.to(job.device), radius, job.settings.padding), int(volumes.shape[0]))

    first = made(volumes[0])
    if all(torch.equal(volume, volumes[0]) for volume in volumes[1:]):
        return (first,) * int(volumes.shape[0])
    return (first, *(made(volume) for volume in volumes[1:]))


def _spectra(job: Class3DJob, projectors: Sequence[Projector], radius: int) -> Tensor:
    """tau2 ``[k, n / 2 + 1]`` of references."""
    box, padding = job.images.box_px, job.settings.padding
    distinct = {id(p): reference_power(p.grid, box, radius, padding).cpu() for p in dict.fromkeys(projectors)}
    return torch.stack([distinct[id(projector)] for projector in projectors])


def _prior_of_first_reference(job: Class3DJob, tau2: Tensor, sums: Expectation, shell: int) -> Tensor:
    """The prior of an iteration scored by cross-correlation.

    It ends where the reference was filtered (seen in RELION's files: shell by shell, once more than the map),
    and a reference in another grey scale than the images is brought to theirs. RELION has no such
    safeguard; factors up to two, which poor poses explain, are left alone.
    """
    factor = signal_scale(sums, shell)
    if not 1.0 / _PLAUSIBLE_SCALE < factor < _PLAUSIBLE_SCALE:
        tau2 = tau2 * factor**2
    limit = job.settings.ini_high_angstrom
    if limit is None:
        return tau2
    edge = job.extent_angstrom / limit
    return tau2 * raised_cosine((torch.arange(tau2.shape[1]).double() - edge + 1.0) / 2.0) ** 2


def _lowpassed(job: Class3DJob, volume: Tensor) -> Tensor:
    """``volume [n, n, n]`` filtered to ``ini_high_angstrom``, with RELION's edge of two shells."""
    limit = job.settings.ini_high_angstrom
    if limit is None:
        return volume
    shell, box = job.extent_angstrom / limit, job.images.box_px
    profile = cosine_profile(fourier_radius(box), shell - 1.0, shell + 1.0)
    return torch.from_numpy(multiply_fourier(volume.numpy(), profile)).float()


def _solvent_mask(job: Class3DJob) -> Tensor:
    if job.solvent_mask is not None:
        return job.solvent_mask
    return soft_sphere(job.images.box_px, job.mask_radius_px)
