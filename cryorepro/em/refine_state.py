"""The model of one half of a refinement: what an expectation step assumes, and how its result changes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation import Expectation
from cryorepro.em.fourier import half_plane, image_shell_power, shell_pixel_counts
from cryorepro.em.imageset import ImageSet
from cryorepro.em.masks import mask_images, soft_circle, soft_sphere
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector
from cryorepro.em.refine_schedule import Schedule, coarse_shell
from cryorepro.em.sampling import Sampling

_UNIFORM_SHARE = 0.05
"""Part of the direction prior that stays uniform: an empty direction must not be lost for good."""
_SMALLEST_OFFSET_SIGMA_PX = 0.5
_SCALE_FROM_SSNR = 3.0
_SCALE_LIMITS = (0.2, 5.0)
_CHUNK = 256


@dataclass(frozen=True)
class RefineOptions:
    """How to refine; names and meaning as in RELION, lengths in pixels where the name says so."""

    particle_diameter_angstrom: float
    symmetry: Tensor
    perturbation: float = 0.5
    adaptive_fraction: float = 0.999
    padding: int = 2
    firstiter_cc: bool = False
    correct_ctf: bool = True
    ctf_corrected_reference: bool = True
    flatten_solvent: bool = True
    zero_mask: bool = True
    norm: bool = True
    scale: bool = True
    fix_offset_sigma: bool = False
    join_halves_angstrom: float = 40.0
    use_input_poses: bool = False


@dataclass(frozen=True)
class HalfState:
    """Model of one half between two iterations.

    Attributes:
        reference: ``[n, n, n]`` float32, masked, as the next expectation step uses it.
        sigma2: ``[noise groups, n / 2 + 1]`` float64 noise variance per component.
        scale: ``[scale groups]`` float64 intensity of each group.
        direction_prior: ``[d]`` float64 over the directions of the current grid, sums to 1.
        offset_sigma_px: deviation of the shifts.
        average_norm: mean of the images' norms.
        tau2, ssnr: ``[n / 2 + 1]`` float64 signal power and signal-to-noise ratio of the last map.
        coverage: ``[n / 2 + 1]`` fraction of Fourier space covered.
        map_sigma2: ``[n / 2 + 1]`` noise of the last map.
        log_likelihood, mean_pmax: of the last expectation step.
    """

    reference: Tensor
    sigma2: Tensor
    scale: Tensor
    direction_prior: Tensor
    offset_sigma_px: float
    average_norm: float
    tau2: Tensor
    ssnr: Tensor
    coverage: Tensor
    map_sigma2: Tensor
    log_likelihood: float = 0.0
    mean_pmax: float = 0.0


def start_half(
    reference: Tensor, sigma2: Tensor, scale_groups: int, directions: int, offset_sigma_px: float
) -> HalfState:
    """State before the first iteration."""
    shells = reference.shape[0] // 2 + 1
    empty = torch.zeros(shells, dtype=torch.float64)
    return HalfState(
        reference=reference.float(),
        sigma2=sigma2,
        scale=torch.ones(scale_groups, dtype=torch.float64),
        direction_prior=torch.full((directions,), 1.0 / directions, dtype=torch.float64),
        offset_sigma_px=offset_sigma_px,
        average_norm=1.0,
        tau2=empty,
        ssnr=empty.clone(),
        coverage=empty.clone(),
        map_sigma2=empty.clone(),
    )


def initial_noise(images: ImageSet, index: Tensor, mask: Tensor) -> Tensor:
    """Noise spectra ``[groups, n / 2 + 1]``: mean power of the masked images minus that of their mean image."""
    groups, shells = images.noise_groups, images.box_px // 2 + 1
    power = torch.zeros(groups, shells, dtype=torch.float64)
    total = torch.zeros(groups, images.box_px, images.box_px, dtype=torch.float64)
    count = torch.zeros(groups, dtype=torch.float64)
    for chunk in torch.split(index, _CHUNK):
        pixels = mask_images(images.read(chunk), mask)
        group = images.noise_group[chunk]
        power.index_add_(0, group, image_shell_power(pixels).double())
        total.index_add_(0, group, pixels.double())
        count.index_add_(0, group, torch.ones(chunk.shape[0], dtype=torch.float64))
    count = count.clamp(min=1.0)[:, None]
    mean_image = image_shell_power(total / count[:, :, None])
    noise = (power / count - mean_image) / (2.0 * shell_pixel_counts(images.box_px).double())
    present = noise[noise > 0.0]
    return noise.clamp(min=float(present.min()) if present.numel() else 1e-12)


def particle_mask(images: ImageSet, diameter_angstrom: float) -> Tensor:
    """Soft circle ``[n, n]`` of the particle."""
    return soft_circle(images.box_px, diameter_angstrom / (2.0 * images.pixel_size_angstrom))


def estep_model(
    state: HalfState,
    images: ImageSet,
    schedule: Schedule,
    sampling: Sampling,
    options: RefineOptions,
    first: bool,
    fill_seed: int,
) -> EstepModel:
    """What the next expectation step of one half assumes."""
    preparation = Preparation(
        plane=half_plane(images.box_px, schedule.radius),
        mask=particle_mask(images, options.particle_diameter_angstrom),
        sigma2=state.sigma2,
        correct_ctf=options.correct_ctf,
        average_norm=state.average_norm,
        fill_seed=None if options.zero_mask else fill_seed,
    )
    step = coarse_shell(
        images.box_px, images.pixel_size_angstrom, sampling.psi_step_deg, options.particle_diameter_angstrom,
        schedule.radius,
    )  # fmt: skip
    return EstepModel(
        projectors=(Projector(state.reference, schedule.radius, options.padding),),
        sampling=sampling,
        preparation=preparation,
        coarse_shell=step,
        log_prior=state.direction_prior.log()[None],
        offset_sigma_px=state.offset_sigma_px,
        scale=state.scale,
        score_with_ctf=options.ctf_corrected_reference or not first,
        cross_correlation=first and options.firstiter_cc,
        adaptive_fraction=options.adaptive_fraction,
    )


def updated(state: HalfState, found: Expectation, options: RefineOptions, cross_correlation: bool) -> HalfState:
    """The noise, norms, scales and priors after an expectation step; the map is not touched.

    After a step by cross-correlation only the shifts' spread is believed: the grey scale is not settled yet.
    """
    count = float(found.noise_count.sum())
    sigma = math.sqrt(max(found.offset_power / (2.0 * count), _SMALLEST_OFFSET_SIGMA_PX**2))
    directions = found.direction_weight[0] / found.direction_weight[0].sum()
    uniform = 1.0 / directions.shape[0]
    state = replace(
        state,
        offset_sigma_px=state.offset_sigma_px if options.fix_offset_sigma else sigma,
        direction_prior=(1.0 - _UNIFORM_SHARE) * directions + _UNIFORM_SHARE * uniform,
        log_likelihood=float(found.poses.log_likelihood.sum()),
        mean_pmax=float(found.poses.max_probability.mean()),
    )
    if cross_correlation:
        return state
    box = state.reference.shape[0]
    pixels = 2.0 * found.noise_count[:, None] * shell_pixel_counts(box).double()
    measured = found.noise / pixels.clamp(min=1.0)
    sigma2 = torch.where((measured > 0.0) & (found.noise_count[:, None] > 0), measured, state.sigma2)
    return replace(
        state,
        sigma2=sigma2,
        average_norm=float(found.poses.norm.mean()) if options.norm else 1.0,
        scale=group_scales(found, state) if options.scale else state.scale,
    )


def group_scales(found: Expectation, state: HalfState) -> Tensor:
    """Intensity of each group: its images' correlation with the model over the model's power, mean 1.

    Only shells with a good signal count; values far from the median are drawn back to it.
    """
    reliable = state.ssnr > _SCALE_FROM_SSNR
    product, power = found.signal_product[:, reliable].sum(dim=1), found.reference_power[:, reliable].sum(dim=1)
    known = (product > 0.0) & (power > 0.0)
    if not known.any():
        return state.scale
    scale = torch.where(known, product / power.clamp(min=1e-30), 1.0)
    median = scale[known].median()
    scale = torch.where(known, scale, median).clamp(_SCALE_LIMITS[0] * median, _SCALE_LIMITS[1] * median)
    return scale / scale.mean()


def flattened(volume: Tensor, diameter_px: float, flatten: bool) -> Tensor:
    """The map within a soft sphere, the mean of what is outside beyond it."""
    if not flatten:
        return volume.float()
    mask = soft_sphere(volume.shape[0], diameter_px / 2.0).to(volume.dtype)
    beyond = 1.0 - mask
    outside = (volume * beyond).sum() / beyond.sum().clamp(min=1e-6)
    return (volume * mask + outside * beyond).float()
