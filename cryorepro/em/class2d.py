"""2D classification as RELION does it, one iteration at a time; all randomness derives from the run's seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.class2d_expectation import PlaneSums, plane_expectation
from cryorepro.em.class2d_grid import PlaneModel, PlaneSampling, angle_count
from cryorepro.em.class2d_plan import plane_plan
from cryorepro.em.class2d_reconstruction import Averages, average_power, reconstruct_averages
from cryorepro.em.class2d_state import Class2DSettings, Class2DState
from cryorepro.em.class2d_turning import images_to_grids, plane_with_origin
from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.memory import free_bytes
from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.estep_model import strict_shell
from cryorepro.em.imageset import ImageSet
from cryorepro.em.masks import soft_circle
from cryorepro.em.maximisation import (
    resolved_shell,
    updated_directions,
    updated_noise,
    updated_offset_sigma_px,
    updated_scales,
)
from cryorepro.em.preparation import Preparation
from cryorepro.em.sampling import next_perturbation
from cryorepro.em.streams import random_stream

_SIZE_INCREMENT_SHELLS = 10
_LEAST_SHELL = 5
_COARSE_KEEPSAFE = 1.5
# Classes made of random subsets differ by chance alone. Were shifts and class sizes free from the start, a few classes
# would take everything before the others show anything.
_EARLY_OFFSET_SIGMA_PX = 0.2
# RELION's --fast_subsets in 2D, as its log tells: so many particles per class up to iteration 5, three times as many up
# to 10, up to 15 so many or 30 % of all, whichever is more, then all.
_SUBSET_PER_CLASS = 100


@dataclass(frozen=True)
class Class2DJob:
    """One classification: its data, settings, seed, and where it runs.

    ``workers`` are processes of one thread each on the CPU; ``ranks`` the processes that share the particles, each on a
    ``device`` of its own. ``exact`` sums have the same bits on any number of both. States are on the CPU.
    """

    images: ImageSet
    settings: Class2DSettings
    seed: int
    workers: int = 1
    device: torch.device = CPU
    exact: bool = False
    ranks: Ranks = ALONE

    @property
    def mask(self) -> Tensor:
        """The particle mask ``[n, n]``, on the job's device."""
        radius_px = self.settings.particle_diameter_angstrom / 2.0 / self.pixel_angstrom
        return soft_circle(self.images.box_px, radius_px).to(self.device)

    @property
    def pixel_angstrom(self) -> float:
        """Pixel size."""
        return self.images.pixel_size_angstrom

    @property
    def extent_angstrom(self) -> float:
        """Side of the box in Angstrom; shell s is at extent / s."""
        return self.images.box_px * self.pixel_angstrom

    def uniform(self, name: str) -> float:
        """One draw from [0, 1) of a named stream of the run's seed."""
        return float(random_stream(self.seed, name).random())


def classify_2d(job: Class2DJob, state: Class2DState) -> Iterator[Class2DState]:
    """Yield the state after every remaining iteration; ``state`` is the start or any saved iteration."""
    while state.iteration < job.settings.iterations:
        state = iterate_2d(job, state)
        yield state


def iterate_2d(job: Class2DJob, state: Class2DState) -> Class2DState:
    """One iteration: expectation, class averages, and the update of every other parameter."""
    settings, number = job.settings, state.iteration + 1
    perturbation = next_perturbation(
        state.perturbation, settings.perturbation, job.uniform(f"class2d/perturbation/{number}")
    )
    model = plane_model(job, state, perturbation)
    radius, box = model.image_radius, job.images.box_px
    index = subset(job, number)
    sums = plane_expectation(job.images, state.poses, model, job.workers, index, job.ranks)
    tau2 = average_power(model.grids, box, radius, settings.padding)
    grids = torch.stack(sums.shared.grids).to(job.device)
    made = reconstruct_averages(grids, box, radius, tau2, settings.tau2_fudge, settings.padding).on_cpu()
    state = replace(state, iteration=number, perturbation=perturbation, image_radius=radius, tau2=tau2.cpu())
    return _updated(job, state, sums, made, index)


def plane_model(job: Class2DJob, state: Class2DState, perturbation: float) -> PlaneModel:
    """What the expectation step of the iteration after ``state`` assumes."""
    settings, images = job.settings, job.images
    radius = _image_radius(job, state)
    sampling = PlaneSampling(
        angle_count(settings.psi_step_degrees), settings.oversampling, settings.offset_range_px,
        settings.offset_step_px, perturbation,
    )  # fmt: skip
    preparation = Preparation(
        plane=plane_with_origin(images.box_px, radius).to(job.device),
        mask=job.mask,
        sigma2=state.sigma2.to(job.device),
        correct_ctf=settings.ctf,
        average_norm=state.average_norm,
        fill_seed=None if settings.zero_mask else job.seed,
    )
    coarse = radius if settings.oversampling == 0 else _coarse_shell(job, sampling, radius)
    strict = strict_shell(job.extent_angstrom, settings.strict_highres_angstrom, radius)
    early = state.iteration < settings.early_iterations
    offset_sigma_px = state.offset_sigma_angstrom / job.pixel_angstrom
    fractions = torch.full_like(state.class_fractions, 1.0 / settings.number_of_classes)
    model = PlaneModel(
        grids=images_to_grids(state.averages.to(job.device), radius, settings.padding),
        sampling=sampling,
        preparation=preparation,
        image_radius=radius,
        padding=settings.padding,
        coarse_shell=coarse if strict is None else strict,
        score_shell=strict,
        log_prior=torch.log(fractions if early else state.class_fractions),
        offset_sigma_px=min(offset_sigma_px, _EARLY_OFFSET_SIGMA_PX) if early else offset_sigma_px,
        class_offset_px=state.class_offset_px,
        scale=state.scale,
        adaptive_fraction=settings.adaptive_fraction,
        intact_first_peak=settings.ctf_intact_first_peak,
    )
    return replace(model, plan=plane_plan(model, images, free_bytes(job.device), job.exact))


def subset(job: Class2DJob, number: int) -> Tensor | None:
    """Which particles iteration ``number`` uses: a random subset early on under ``fast_subsets``; None for all."""
    count, settings = len(job.images), job.settings
    if not settings.fast_subsets or number > 15:
        return None
    per_stage = _SUBSET_PER_CLASS * settings.number_of_classes
    wanted = per_stage if number <= 5 else 3 * per_stage
    if number > 10:
        wanted = max(wanted, round(0.3 * count))
    if wanted >= count:
        return None
    drawn = random_stream(job.seed, f"class2d/subset/{number}").permutation(count)[: max(1, wanted)]
    return torch.from_numpy(drawn.copy()).sort().values


def _image_radius(job: Class2DJob, state: Class2DState) -> int:
    return min(state.resolution_shell + _SIZE_INCREMENT_SHELLS, job.images.box_px // 2)


def _coarse_shell(job: Class2DJob, sampling: PlaneSampling, radius: int) -> int:
    """Fourier radius of the coarse pass: RELION's rule, ml_optimiser.cpp updateImageSizeAndResolutionPointers."""
    arc = sampling.step_deg / 360.0 * math.pi * job.settings.particle_diameter_angstrom
    return min(radius, math.ceil(job.extent_angstrom / (arc / _COARSE_KEEPSAFE)))


def _updated(
    job: Class2DJob, state: Class2DState, sums: PlaneSums, made: Averages, index: Tensor | None
) -> Class2DState:
    settings, images, shared = job.settings, job.images, sums.shared
    groups = images.scale_group if index is None else images.scale_group[index]
    members = torch.bincount(groups, minlength=images.scale_groups).double()
    scale = updated_scales(shared, made.data_vs_prior, members, state.scale) if settings.scale else state.scale
    sigma = updated_offset_sigma_px(shared) * images.pixel_size_angstrom
    of_class = shared.direction_weight
    part = shared.poses if settings.norm else replace(shared.poses, norm=torch.ones_like(shared.poses.norm))
    return replace(
        state,
        averages=made.images * job.mask.cpu() if settings.flatten_solvent else made.images,
        poses=part if index is None else state.poses.updated(index, part),
        sigma2=updated_noise(shared, state.sigma2, images.box_px),
        class_fractions=updated_directions(shared)[:, 0],
        class_offset_px=torch.where(of_class > 0, sums.class_offset / of_class.clamp(min=1e-12), 0.0),
        reference_sigma2=made.sigma2,
        data_vs_prior=made.data_vs_prior,
        coverage=made.coverage,
        scale=scale,
        offset_sigma_angstrom=state.offset_sigma_angstrom if settings.fix_offset_sigma else sigma,
        average_norm=float(part.norm.mean()),
        resolution_shell=resolved_shell(made.data_vs_prior, _LEAST_SHELL),
        log_likelihood=float(part.log_likelihood.sum()),
        average_pmax=float(part.max_probability.mean()),
    )
