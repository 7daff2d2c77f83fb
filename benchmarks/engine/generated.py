"""Particles of the three-conformer ribosome made on a device, in its memory: no file, no interpolation.

A Gaussian blob's projection is a Gaussian: an image is one product of two matrices of its profiles along y and x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.blobs import BlobModel
from cryorepro.em.conventions import origin_index
from cryorepro.em.ctf import CtfParameters, ctf_values
from cryorepro.em.imageset import ImageSet, TensorSource
from cryorepro.em.phantom import ribosome
from cryorepro.em.rotations import random_rotations

SHARES = (0.40, 0.35, 0.25)
_MADE_TOGETHER = 1 << 24


@dataclass(frozen=True)
class Generated:
    """Images with their truth: ``conformer [n]``, ``rotations [n, 3, 3]``, the shifts ``origin_px [n, 2]`` that centre
    them, and the first conformer's map."""

    images: ImageSet
    conformer: Tensor
    rotations: Tensor
    origin_px: Tensor
    reference: Tensor


def generate(
    count: int, box_px: int, pixel_size_angstrom: float, snr: float, seed: int, device: torch.device, half: bool
) -> Generated:
    """``count`` particles, normalised to noise of variance 1 and stored as float16 if ``half``, else as float32."""
    generator = torch.Generator().manual_seed(seed)
    models = ribosome(seed)
    conformer = torch.multinomial(torch.tensor(SHARES), count, replacement=True, generator=generator)
    rotations = random_rotations(count, generator)
    shifts = (torch.randn(count, 2, generator=generator, dtype=torch.float64) * 1.5).clamp(-4.0, 4.0)
    optics = _optics(count, generator)
    images = torch.empty(count, box_px, box_px, dtype=torch.float16 if half else torch.float32, device=device)
    noise = torch.Generator(device).manual_seed(seed)
    scale = 1.0
    step = max(1, _MADE_TOGETHER // box_px**2)
    for start in range(0, count, step):
        block = torch.arange(start, min(start + step, count))
        clean = _projections(
            models, conformer[block], rotations[block], shifts[block], box_px, pixel_size_angstrom, device
        )
        clean = _through_ctf(clean, optics.select(block).to(device), pixel_size_angstrom)
        if start == 0:
            scale = math.sqrt(snr / float(clean.var(dim=(1, 2)).mean()))
        images[block.to(device)] = (clean * scale + torch.randn(clean.shape, generator=noise, device=device)).to(images)
    group = torch.arange(count) // 100
    every = ImageSet(TensorSource(images), box_px, pixel_size_angstrom, optics, torch.zeros_like(group), group)
    reference = _volume(models[0], box_px, pixel_size_angstrom, device) * scale
    return Generated(every, conformer, rotations, shifts, reference)


def _optics(count: int, generator: torch.Generator) -> CtfParameters:
    every = torch.ones(count, dtype=torch.float64)
    defocus = 10_000.0 + 20_000.0 * torch.rand(count, generator=generator, dtype=torch.float64)
    angle = 180.0 * torch.rand(count, generator=generator, dtype=torch.float64)
    return CtfParameters(defocus, defocus - 250.0, angle, every * 0.0, every * 300.0, every * 2.0, every * 0.1)


def _profiles(position_px: Tensor, sigma_px: Tensor, box_px: int) -> Tensor:
    """Gaussians ``[..., m, box]`` of unit sum about ``position_px [..., m]`` from the origin pixel."""
    axis = torch.arange(box_px, device=position_px.device, dtype=torch.float32) - origin_index(box_px)
    reduced = (axis - position_px[..., None]) / sigma_px[:, None]
    return torch.exp(-0.5 * reduced**2) / (math.sqrt(2.0 * math.pi) * sigma_px[:, None])


def _blobs(model: BlobModel, pixel_size: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    values = (model.centres_angstrom / pixel_size, model.sigmas_angstrom / pixel_size, model.masses)
    centres, sigmas, masses = (torch.from_numpy(value).float().to(device) for value in values)
    return centres, sigmas, masses


def _projections(
    models: tuple[BlobModel, ...], conformer: Tensor, rotations: Tensor, shifts: Tensor, box_px: int, pixel_size: float,
    device: torch.device,
) -> Tensor:  # fmt: skip
    images = torch.zeros(conformer.shape[0], box_px, box_px, device=device)
    for number, model in enumerate(models):
        rows = (conformer == number).nonzero()[:, 0]
        centres, sigmas, masses = _blobs(model, pixel_size, device)
        turned = rotations[rows].float().to(device)[:, :2] @ centres.T
        x, y = (turned - shifts[rows].float().to(device)[:, :, None]).unbind(1)
        along_y, along_x = _profiles(y, sigmas, box_px), _profiles(x, sigmas, box_px) * masses[:, None]
        images[rows.to(device)] = along_y.transpose(1, 2) @ along_x
    return images


def _through_ctf(images: Tensor, optics: CtfParameters, pixel_size: float) -> Tensor:
    box = images.shape[-1]
    ky = torch.fft.fftfreq(box, 1.0 / box, device=images.device)[:, None].expand(box, box // 2 + 1)
    kx = torch.arange(box // 2 + 1, device=images.device)[None].expand(box, box // 2 + 1)
    ctf = ctf_values(optics, kx.flatten(), ky.flatten(), box, pixel_size).reshape(-1, box, box // 2 + 1)
    made: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * ctf, s=(box, box))
    return made


def _volume(model: BlobModel, box_px: int, pixel_size: float, device: torch.device) -> Tensor:
    centres, sigmas, masses = _blobs(model, pixel_size, device)
    x, y, z = (_profiles(centres[:, axis], sigmas, box_px) for axis in range(3))
    volume = torch.zeros(box_px, box_px * box_px, device=device)
    for some in torch.split(torch.arange(centres.shape[0], device=device), 64):
        plane = (y[some, :, None] * (x[some] * masses[some, None])[:, None]).flatten(1)
        volume += z[some].T @ plane
    return volume.reshape(box_px, box_px, box_px).cpu()
