"""Poses of one half's particles against its reference, and the sums its next map is made of.

Particles are cut into chunks of a fixed size; each returns its own sums, added in order in float64: the same bits for
any number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.devices.halving import with_what_fits
from cryorepro.em.estep_sums import poses_from_arrays, poses_to_arrays
from cryorepro.em.homogeneous.bounds import shell_sums
from cryorepro.em.homogeneous.candidates import Candidates, first_of_each
from cryorepro.em.homogeneous.posterior import Weights, pose_weights
from cryorepro.em.homogeneous.search import SearchModel, search
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.parallel import map_in_order
from cryorepro.em.preparation import Preparation, Prepared, prepare
from cryorepro.em.reconstruction import SliceAccumulator, hermitian
from cryorepro.em.rotations import euler_to_matrix, matrix_to_euler

_CHUNK, _MOST_CHUNKS = 64, 32
_ROWS_INSERTED = 256


@dataclass(frozen=True)
class HalfModel:
    """One half's assumptions: how images are prepared, what they are searched against, intensities ``[n]`` of all.

    ``earlier`` says whether the poses of the set are those of an earlier search.
    """

    preparation: Preparation
    search: SearchModel
    scale: Tensor
    earlier: bool
    marginalise: bool


@dataclass(frozen=True)
class HalfSums:
    """What m particles add up to.

    Attributes:
        poses: of the m particles.
        grid: Hermitian sums ``[3, 2R + 1, 2R + 1, R + 1]`` float64.
        noise: ``[groups, shells]`` residual power, of ``noise_count [groups]`` particles.
        product, power: ``[m]`` float64 over the shells compared, each over the noise: the image against the model,
            and the model against itself, without the intensity.
        scored: mean number of orientations compared after the coarse grid.
    """

    poses: Poses
    grid: Tensor
    noise: Tensor
    noise_count: Tensor
    product: Tensor
    power: Tensor
    scored: float


Arrays = dict[str, NDArray[Any]]


def half_expectation(images: ImageSet, poses: Poses, model: HalfModel, index: Tensor, workers: int) -> HalfSums:
    """Search the particles at ``index`` and sum their slices; ``poses`` are those of the whole set.

    Where memory does not suffice it starts again with half of what it holds at once; a warning tells. What is returned
    is on the CPU.
    """
    search = model.search
    return with_what_fits(
        lambda plan: _own_step(images, poses, replace(model, search=replace(search, plan=plan)), index, workers),
        search.plan, search.device,
    )  # fmt: skip


def _own_step(images: ImageSet, poses: Poses, model: HalfModel, index: Tensor, workers: int) -> HalfSums:
    size = max(_CHUNK, -(-int(index.shape[0]) // _MOST_CHUNKS))
    chunks = list(torch.split(index, size))

    def task(number: int) -> tuple[Arrays, Arrays, Arrays]:
        return _chunk(images, poses, model, chunks[number])

    totals: Arrays = {}
    found, each = [], []
    for sums, state, own in map_in_order(task, len(chunks), workers if model.search.device.type == "cpu" else 1):
        for name, values in sums.items():
            totals[name] = totals[name] + values if name in totals else values.astype(np.float64)
        found.append(poses_from_arrays(state))
        each.append(own)
    radius = model.search.projector.max_radius * model.search.projector.padding + 1
    grid = torch.from_numpy(totals["grid"]).reshape(3, 2 * radius + 1, 2 * radius + 1, radius + 1)
    return HalfSums(
        poses=Poses(*(torch.cat([getattr(p, name) for p in found]) for name in Poses.__dataclass_fields__)),
        grid=hermitian(grid),
        noise=torch.from_numpy(totals["noise"]),
        noise_count=torch.from_numpy(totals["noise_count"]),
        product=torch.from_numpy(np.concatenate([own["product"] for own in each])),
        power=torch.from_numpy(np.concatenate([own["power"] for own in each])),
        scored=float(totals["scored"][0]) / len(index),
    )


class _Sums:
    """The running sums of one chunk."""

    def __init__(self, images: ImageSet, model: HalfModel) -> None:
        projector = model.search.projector
        device = projector.device
        self.slices = SliceAccumulator(projector.max_radius, projector.padding, device=device)
        self.noise = torch.zeros(images.noise_groups, images.box_px // 2 + 1, dtype=torch.float64, device=device)
        self.noise_count = torch.zeros(images.noise_groups, dtype=torch.float64, device=device)
        self.scored = 0

    def arrays(self) -> Arrays:
        return {
            "grid": self.slices.data.cpu().numpy(), "noise": self.noise.cpu().numpy(),
            "noise_count": self.noise_count.cpu().numpy(), "scored": np.array([float(self.scored)]),
        }  # fmt: skip


def _chunk(images: ImageSet, poses: Poses, model: HalfModel, index: Tensor) -> tuple[Arrays, Arrays, Arrays]:
    sums, states, each = _Sums(images, model), [], []
    for batch in torch.split(index, model.search.plan.block_particles):
        prepared = prepare(images, poses, batch, model.preparation)
        scale = model.scale[batch].float().to(model.search.device)
        earlier = _earlier(poses, batch, prepared) if model.earlier else None
        found = search(model.search, prepared, scale, earlier)
        sums.scored += found.scored
        weights = _weights(model, found.candidates, prepared, scale)
        _insert(sums.slices, model, weights, prepared, scale)
        product, power = _residual(sums, images, model, weights.best, prepared, scale, batch)
        each.append((product, power))
        states.append(poses_to_arrays(_poses(weights, prepared)))
    joined = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
    own = [torch.cat(parts).cpu().numpy() for parts in zip(*each, strict=True)]
    return sums.arrays(), joined, {"product": own[0], "power": own[1]}


def _earlier(poses: Poses, index: Tensor, prepared: Prepared) -> Candidates:
    device = prepared.masked.device
    return Candidates(
        torch.arange(index.shape[0], device=device),
        euler_to_matrix(poses.euler_deg[index]).to(device),
        poses.origin_px[index].to(device) - prepared.applied_origin,
        torch.zeros(index.shape[0], device=device),
    )


def _weights(model: HalfModel, found: Candidates, prepared: Prepared, scale: Tensor) -> Weights:
    if model.marginalise and not model.search.any_scale:
        data = model.search.weighted(prepared, scale)
        return pose_weights(model.search.projector, data, found, model.search.levels[-1])
    best = found.select(first_of_each(found))
    share = torch.ones_like(best.scores)
    return Weights(best, share, best, share)


def _insert(slices: SliceAccumulator, model: HalfModel, weights: Weights, prepared: Prepared, scale: Tensor) -> None:
    plane, poses = model.search.plane, weights.poses
    modelled = prepared.ctf * scale[:, None]
    data, power = prepared.plain * (modelled * prepared.inverse_sigma2), modelled.square() * prepared.inverse_sigma2
    for rows in torch.split(torch.arange(poses.image.shape[0], device=data.device), _ROWS_INSERTED):
        image, share = poses.image[rows], weights.shares[rows, None]
        moved = data[image] * plane.phase_ramps(poses.shifts[rows]) * share
        slices.insert(moved, power[image] * share, poses.matrices[rows], plane)


def _residual(
    sums: _Sums,
    images: ImageSet,
    model: HalfModel,
    best: Candidates,
    prepared: Prepared,
    scale: Tensor,
    index: Tensor,
) -> tuple[Tensor, Tensor]:
    """Add the power of what the best poses leave; returns product and power ``[b]`` for the intensities."""
    plane, shells = model.search.plane, images.box_px // 2 + 1
    reference = model.search.projector.slices(best.matrices, plane) * prepared.ctf
    moved = prepared.masked * plane.phase_ramps(best.shifts)
    product = shell_sums((moved * reference.conj()).real, plane, shells).double()
    power = shell_sums(reference.abs().square(), plane, shells).double()
    each = scale.double()[:, None]
    residual = prepared.shell_power.double() - 2.0 * each * product + each**2 * power
    group = images.noise_group[index].to(scale.device)
    sums.noise.index_add_(0, group, residual)
    sums.noise_count.index_add_(0, group, torch.ones_like(scale, dtype=torch.float64))
    compared = torch.arange(shells, device=scale.device) <= model.search.levels[-1].radius
    weight = compared / model.preparation.sigma2[group]
    return (product * weight).sum(dim=1), (power * weight).sum(dim=1)


def _poses(weights: Weights, prepared: Prepared) -> Poses:
    best = weights.best
    count = best.image.shape[0]
    image_terms = (prepared.masked.abs().square() * prepared.inverse_sigma2).sum(dim=1, dtype=torch.float64)
    return Poses(
        euler_deg=matrix_to_euler(best.matrices.cpu()),
        origin_px=(prepared.applied_origin + best.shifts).cpu(),
        class_index=torch.zeros(count, dtype=torch.int64),
        max_probability=weights.best_share.double().cpu(),
        log_likelihood=(best.scores.double() - 0.5 * image_terms - prepared.log_normaliser).cpu(),
        significant=torch.bincount(weights.poses.image, minlength=count).cpu(),
        norm=torch.ones(count, dtype=torch.float64),
    )
