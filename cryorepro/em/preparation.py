"""From pixels to what the likelihood compares: recentred, normalised, masked and transformed images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.ctf import ctf_values
from cryorepro.em.devices.plan import PIXELS_TOGETHER
from cryorepro.em.fourier import HalfPlane, image_coefficients, image_shell_power
from cryorepro.em.imageset import ImageSet, Poses
from cryorepro.em.masks import mask_images


@dataclass(frozen=True)
class Prepared:
    """b images on the pixels of a half plane.

    Attributes:
        masked: ``[b, n]`` complex64, scored and used for the noise.
        plain: ``[b, n]`` complex64 without the mask, back-projected.
        shell_power: ``[b, box / 2 + 1]`` sums of ``|F|^2`` of the masked image over every shell.
        ctf: ``[b, n]`` float32; ones if the CTF is not to be corrected.
        inverse_sigma2: ``[b, n]`` float32, one over the noise variance per component.
        log_normaliser: ``[b]`` float64, sum of log(2 pi sigma2) over the pixels.
        applied_origin: ``[b, 2]`` float64, the shift already applied: whole pixels, or all of it (``fractions``).
    """

    masked: Tensor
    plain: Tensor
    shell_power: Tensor
    ctf: Tensor
    inverse_sigma2: Tensor
    log_normaliser: Tensor
    applied_origin: Tensor

    def select(self, rows: Tensor) -> Prepared:
        """The images at ``rows``."""
        return Prepared(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Preparation:
    """How images are prepared in one iteration.

    Attributes:
        plane: the half plane in use.
        mask: ``[box, box]`` soft circle around the particle.
        sigma2: ``[groups, box / 2 + 1]`` noise variance per component.
        correct_ctf: whether the images' CTF is modelled at all.
        average_norm: mean of the images' norms.
        fill_seed: if not None, noise from this seed replaces what the mask removes (else the mean outside).
        fractions: apply the whole shift of each image, not only its whole pixels.

    Images are prepared on the device of ``mask``, where ``plane`` and ``sigma2`` must be too.
    """

    plane: HalfPlane
    mask: Tensor
    sigma2: Tensor
    correct_ctf: bool = True
    average_norm: float = 1.0
    fill_seed: int | None = None
    fractions: bool = False


def prepare(images: ImageSet, poses: Poses, index: Tensor, how: Preparation, pixels: Tensor | None = None) -> Prepared:
    """Prepare the particles at ``index``; ``poses`` are those of the whole set.

    ``pixels`` are their images if they were read before. Large ones are worked on a few at a time, as many as
    depends on the box alone.
    """
    read = images.read(index) if pixels is None else pixels
    together = max(1, PIXELS_TOGETHER.get(how.mask.device.type, PIXELS_TOGETHER["cpu"]) // images.box_px**2)
    if index.shape[0] <= together:
        return _prepared(images, poses, index, how, read)
    blocks = zip(torch.split(index, together), torch.split(read, together), strict=True)
    parts = [_prepared(images, poses, own, how, some) for own, some in blocks]
    return Prepared(*(torch.cat([getattr(part, name) for part in parts]) for name in Prepared.__dataclass_fields__))


def _prepared(images: ImageSet, poses: Poses, index: Tensor, how: Preparation, read: Tensor) -> Prepared:
    device = how.mask.device
    origin = poses.origin_px[index].round().to(device)
    factor = (how.average_norm / poses.norm[index]).float().to(device)
    pixels = shift_whole_pixels(read.to(device, non_blocking=True) * factor[:, None, None], origin.long())
    sigma2 = how.sigma2[images.noise_group[index].to(device)]
    outside = None if how.fill_seed is None else _noise(sigma2, images.box_px, how.fill_seed, index)
    masked = mask_images(pixels, how.mask, outside)
    on_plane = sigma2[:, how.plane.shell]
    if how.correct_ctf:
        optics = images.ctf.select(index).to(device)
        plane = how.plane
        ctf = ctf_values(optics, plane.kx, plane.ky, images.box_px, images.pixel_size_angstrom)
    else:
        ctf = torch.ones(on_plane.shape, dtype=torch.float32, device=device)
    coefficients = [image_coefficients(values, how.plane) for values in (masked, pixels)]
    if how.fractions:
        whole, origin = origin, poses.origin_px[index].to(device)
        ramps = how.plane.phase_ramps(origin - whole)
        coefficients = [values * ramps for values in coefficients]
    return Prepared(
        masked=coefficients[0],
        plain=coefficients[1],
        shell_power=image_shell_power(masked),
        ctf=ctf,
        inverse_sigma2=(1.0 / on_plane).float(),
        log_normaliser=torch.log(2.0 * torch.pi * on_plane).sum(dim=1),
        applied_origin=origin,
    )


def shift_whole_pixels(images: Tensor, shift: Tensor) -> Tensor:
    """Move images ``[b, n, n]`` by whole pixels ``shift [b, 2]`` (x, y); what comes in from outside is 0."""
    box = images.shape[-1]
    axis = torch.arange(box, device=images.device)
    x, y = axis[None] - shift[:, :1], axis[None] - shift[:, 1:]
    inside = ((y >= 0) & (y < box))[:, :, None] & ((x >= 0) & (x < box))[:, None, :]
    source = (y.clamp(0, box - 1) * box)[:, :, None] + x.clamp(0, box - 1)[:, None, :]
    moved = images.flatten(1).gather(1, source.flatten(1)).reshape(images.shape)
    cropped: Tensor = moved * inside
    return cropped


def _noise(sigma2: Tensor, box_px: int, seed: int, index: Tensor) -> Tensor:
    """Noise images ``[b, n, n]`` with spectra ``sigma2 [b, shells]``, each from its own particle's stream."""
    white = torch.empty(index.shape[0], box_px, box_px)
    for row, particle in enumerate(index.tolist()):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + particle) % 2**63)
        white[row] = torch.randn(box_px, box_px, generator=generator)
    white, device = white.to(sigma2.device), sigma2.device
    ky = torch.fft.fftfreq(box_px, 1.0 / box_px, device=device)[:, None]
    kx = torch.arange(box_px // 2 + 1, device=device)[None]
    shell = torch.round((kx**2 + ky**2).sqrt()).long().clamp(max=box_px // 2)
    # white noise of variance 1 has |F|^2 = 1 / n^2 per coefficient in our normalisation, 1 / (2 n^2) a component
    amplitude = (2.0 * box_px * box_px * sigma2[:, shell]).sqrt().float()
    noise: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(box_px, box_px))
    return noise
