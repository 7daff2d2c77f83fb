"""The model of one half of a refinement: what an expectation step assumes, and how its result changes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.ranks import ALONE, Ranks
from cryorepro.em.estep_model import EstepModel, strict_shell
from cryorepro.em.expectation import Expectation
from cryorepro.em.expectation_plan import planned
from cryorepro.em.fourier import half_plane
from cryorepro.em.imageset import ImageSet
from cryorepro.em.masks import soft_circle, soft_sphere
from cryorepro.em.maximisation import (
    updated_directions,
    updated_noise,
    updated_offset_sigma_px,
    updated_scales,
)
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector
from cryorepro.em.refine_schedule import Schedule, coarse_shell
from cryorepro.em.sampling import Sampling

_SMALLEST_OFFSET_SIGMA_PX = 0.5


@dataclass(frozen=True)
class RefineOptions:
    """How to refine; names and meaning as in RELION, lengths in pixels where the name says so.

    ``solvent_mask [n, n, n]`` takes the place of the particle's sphere; ``poses_are_given`` lets even the first
    iteration search around the particles' own orientations. ``device`` is where expectation and reconstruction run,
    ``exact`` keeps sums in quanta (the same bits for any number of workers and ``ranks``, the processes that share the
    particles).
    """

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
    poses_are_given: bool = False
    solvent_mask: Tensor | None = None
    solvent_correct_fsc: bool = False
    strict_highres_angstrom: float | None = None
    device: torch.device = CPU
    exact: bool = False
    ranks: Ranks = ALONE


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
    workers: int = 1,
) -> EstepModel:
    """What the next expectation step of one half assumes."""
    device = options.device
    preparation = Preparation(
        plane=half_plane(images.box_px, schedule.radius).to(device),
        mask=particle_mask(images, options.particle_diameter_angstrom).to(device),
        sigma2=state.sigma2.to(device),
        correct_ctf=options.correct_ctf,
        average_norm=state.average_norm,
        fill_seed=None if options.zero_mask else fill_seed,
        fractions=True,
    )
    extent = images.box_px * images.pixel_size_angstrom
    shell = strict_shell(extent, options.strict_highres_angstrom, schedule.radius)
    step = coarse_shell(
        images.box_px, images.pixel_size_angstrom, sampling.psi_step_deg, options.particle_diameter_angstrom,
        schedule.radius,
    )  # fmt: skip
    model = EstepModel(
        projectors=(Projector(state.reference.to(device), schedule.radius, options.padding),),
        sampling=sampling,
        preparation=preparation,
        coarse_shell=step if shell is None else shell,
        log_prior=state.direction_prior.log()[None].to(device),
        offset_sigma_px=state.offset_sigma_px,
        scale=state.scale,
        score_with_ctf=options.ctf_corrected_reference or not first,
        cross_correlation=first and options.firstiter_cc,
        adaptive_fraction=options.adaptive_fraction,
        score_shell=shell,
    )
    local = schedule.is_local and not first
    return replace(model, plan=planned(model, images, workers, options.ranks.local_size, options.exact, local))


def updated(
    state: HalfState, found: Expectation, members: Tensor, options: RefineOptions, cross_correlation: bool
) -> HalfState:
    """The noise, norms, scales and priors after an expectation step; the map is not touched.

    ``members [scale groups]`` counts the particles of this half in each group.

    After a step by cross-correlation only the shifts' spread is believed: the grey scale is not settled yet.
    """
    sigma = max(updated_offset_sigma_px(found), _SMALLEST_OFFSET_SIGMA_PX)
    state = replace(
        state,
        offset_sigma_px=state.offset_sigma_px if options.fix_offset_sigma else sigma,
        direction_prior=_directions(state, found),
        log_likelihood=float(found.poses.log_likelihood.sum()),
        mean_pmax=float(found.poses.max_probability.mean()),
    )
    if cross_correlation:
        return state
    scale = updated_scales(found, state.ssnr[None], members.double(), state.scale) if options.scale else state.scale
    return replace(
        state,
        sigma2=updated_noise(found, state.sigma2, state.reference.shape[0]),
        average_norm=float(found.poses.norm.mean()) if options.norm else 1.0,
        scale=scale,
    )


def _directions(state: HalfState, found: Expectation) -> Tensor:
    """Prior over the directions; a local search has none of its own and leaves it as it was."""
    if found.direction_weight.shape[1] != state.direction_prior.shape[0]:
        return state.direction_prior
    return updated_directions(found)[0]


def flattened(volume: Tensor, diameter_px: float, options: RefineOptions) -> Tensor:
    """The map times the solvent mask; or within a soft sphere, with the mean of what is outside beyond it."""
    if not options.flatten_solvent:
        return volume.float()
    if options.solvent_mask is not None:
        return (volume * options.solvent_mask).float()
    mask = soft_sphere(volume.shape[0], diameter_px / 2.0).to(volume.dtype)
    beyond = 1.0 - mask
    outside = (volume * beyond).sum() / beyond.sum().clamp(min=1e-6)
    return (volume * mask + outside * beyond).float()
