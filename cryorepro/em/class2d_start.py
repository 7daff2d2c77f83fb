"""The state before the first iteration of a 2D classification: averages of random subsets, or given references.

Without references RELION deals every particle to a random class at a random in-plane angle and averages, CTF-corrected
and low-passed to shell 0.07 of the box. The classes then differ by chance alone, which is enough to part the data.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.class2d import Class2DJob
from cryorepro.em.class2d_expectation import hermitian_plane
from cryorepro.em.class2d_reconstruction import average_power, reconstruct_averages
from cryorepro.em.class2d_state import Class2DState
from cryorepro.em.class2d_turning import Turned, grid_shape, images_to_grids, plane_with_origin, turn
from cryorepro.em.fixed_point import from_words, to_words
from cryorepro.em.imageset import Poses
from cryorepro.em.lowpass import raised_cosine
from cryorepro.em.maximisation import resolved_shell
from cryorepro.em.noise import initial_noise
from cryorepro.em.parallel import map_in_order
from cryorepro.em.preparation import Preparation, prepare
from cryorepro.em.streams import random_stream

_START_PART_OF_BOX = 0.07
_RANDOM_ANGLES = 64
_CHUNK = 250
_LEAST_SHELL = 5


def start_2d(job: Class2DJob, poses: Poses, references: Tensor | None = None) -> Class2DState:
    """The state before iteration 1; ``references [k, n, n]`` replace the averages of random subsets."""
    settings, images = job.settings, job.images
    classes, box = settings.number_of_classes, images.box_px
    sigma2 = initial_noise(images, poses, job.mask, job.workers, ranks=job.ranks)
    limit = settings.ini_high_angstrom
    shell = max(1, round(_START_PART_OF_BOX * box if limit is None else job.extent_angstrom / limit))
    averages = random_averages(job, poses, sigma2, shell) if references is None else references
    if references is None or limit is not None:
        averages = _lowpassed(averages, shell)
    tau2 = average_power(images_to_grids(averages, box // 2 - 1, settings.padding), box, box // 2 - 1, settings.padding)
    data_vs_prior = tau2 * (len(images) / classes) / sigma2.mean(dim=0)
    if references is not None and limit is None:
        shell = resolved_shell(data_vs_prior, _LEAST_SHELL)
    return Class2DState(
        iteration=0,
        averages=averages.float(),
        poses=poses,
        sigma2=sigma2,
        class_fractions=torch.full((classes,), 1.0 / classes, dtype=torch.float64),
        class_offset_px=torch.zeros(classes, 2, dtype=torch.float64),
        tau2=tau2,
        reference_sigma2=torch.zeros_like(tau2),
        data_vs_prior=data_vs_prior,
        coverage=torch.zeros_like(tau2),
        scale=torch.ones(images.scale_groups, dtype=torch.float64),
        offset_sigma_angstrom=settings.offset_sigma_angstrom,
        average_norm=1.0,
        perturbation=settings.perturbation * (job.uniform("class2d/perturbation/0") - 0.5),
        resolution_shell=min(shell, box // 2 - 1),
        image_radius=0,
        log_likelihood=0.0,
        average_pmax=0.0,
    )


def random_averages(job: Class2DJob, poses: Poses, sigma2: Tensor, shell: int) -> Tensor:
    """CTF-corrected averages ``[k, n, n]`` of random equal shares of the particles at random in-plane angles."""
    settings, images = job.settings, job.images
    classes, count, radius = settings.number_of_classes, len(images), min(shell + 2, images.box_px // 2)
    stream = random_stream(job.seed, "class2d/start")
    number = torch.empty(count, dtype=torch.int64)
    number[torch.from_numpy(stream.permutation(count))] = torch.arange(count) * classes // count
    angle = torch.from_numpy(stream.integers(0, _RANDOM_ANGLES, count))
    plane = plane_with_origin(images.box_px, radius).to(job.device)
    how = Preparation(plane=plane, mask=job.mask, sigma2=sigma2.to(job.device), correct_ctf=settings.ctf)
    turns = [turn(plane, 360.0 * a / _RANDOM_ANGLES, radius, settings.padding) for a in range(_RANDOM_ANGLES)]
    shape = grid_shape(radius, settings.padding)

    def task(chunk: int) -> np.ndarray:
        first = (mine.start + chunk) * _CHUNK
        index = torch.arange(first, min(first + _CHUNK, count))
        prepared = prepare(images, poses, index, how)
        grids = torch.zeros(shape[0] * shape[1], 3, classes, dtype=torch.float64, device=job.device)
        _spread(grids, prepared.plain * prepared.ctf, prepared.ctf**2, angle[index], number[index], turns)
        return to_words(grids).cpu().numpy()

    # exact sums: neither workers nor processes change the classes a run starts from
    mine = job.ranks.share(-(-count // _CHUNK))
    words = to_words(torch.zeros(shape[0] * shape[1], 3, classes))
    for part in map_in_order(task, len(mine), job.workers if job.device.type == "cpu" else 1):
        words += torch.from_numpy(part)
    sums = from_words(job.ranks.sum_(words)).permute(2, 1, 0).reshape(classes, 3, *shape)
    sums = torch.stack([hermitian_plane(grid) for grid in sums]).to(job.device)
    return reconstruct_averages(sums, images.box_px, radius, None, 1.0, settings.padding).on_cpu().images


def _spread(
    grids: Tensor, weighted: Tensor, weight: Tensor, angle: Tensor, number: Tensor, turns: list[Turned]
) -> None:
    """Add images ``[b, n]`` turned by their ``angle [b]`` to the grids ``[grid points, 3, k]`` of their classes."""
    for at in torch.unique(angle).tolist():
        use = (angle == at).nonzero()[:, 0].to(grids.device)
        parts = torch.stack([weighted.real[use], weighted.imag[use], weight[use]])
        added = turns[at].spread(parts.permute(2, 0, 1).flatten(1)).reshape(-1, 3, use.shape[0])
        grids.index_add_(2, number[angle == at].to(grids.device), added.double())


def _lowpassed(images: Tensor, shell: int) -> Tensor:
    """``images [k, n, n]`` filtered to ``shell``, with RELION's edge of two shells."""
    box = images.shape[-1]
    ky, kx = torch.fft.fftfreq(box, 1.0 / box, dtype=torch.float64), torch.arange(box // 2 + 1)
    radius = torch.hypot(ky[:, None], kx[None].double()).numpy()
    profile = torch.from_numpy(raised_cosine(radius, shell - 1.0, shell + 1.0))
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(images.double()) * profile, s=(box, box))
    return filtered.float()
