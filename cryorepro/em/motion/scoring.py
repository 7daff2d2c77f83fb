"""How well frames agree at given shifts, and where each should go: gradient and curvature of their correlation.

The score is the weighted correlation of every frame with the sum of all others. A frame's own part in the sum has no
gradient, so the sum needs no leaving out there; in the curvature it is subtracted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.devices.choice import CPU

_ROWS = {"cpu": 48, "cuda": 512}
"""Rows of all frames' spectra that are worked on at once: those that a core's cache holds, and many on a GPU."""


@dataclass(frozen=True)
class Band:
    """Frequencies of transforms of real images in use, in cycles per pixel of the full frames.

    Attributes:
        fy: ``[ny]``, of the rows.
        fx: ``[nx]``, of the columns, from 0 up.
        rows: ``[ny]`` indices of the transform's rows; the columns are the first ``nx``.
        size: (rows, columns) of the images.
    """

    fy: Tensor
    fx: Tensor
    rows: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, height: int, width: int, factor: int, limit: float, device: torch.device = CPU) -> Band:
        """Frequencies up to ``limit`` along each axis, of images binned by ``factor``; on ``device``."""
        fy = torch.fft.fftfreq(height, d=factor, dtype=torch.float64)
        fx = torch.fft.rfftfreq(width, d=factor, dtype=torch.float64)
        rows = torch.nonzero(fy.abs() <= limit)[:, 0]
        columns = int((fx <= limit).sum())
        return cls(fy[rows].float().to(device), fx[:columns].float().to(device), rows.to(device), (height, width))

    def transform(self, images: Tensor) -> Tensor:
        """Return ``[..., ny, nx]`` complex64 of ``[..., h, w]``: only what is in the band is kept."""
        across = torch.fft.rfft(images, dim=-1)[..., : len(self.fx)]
        found: Tensor = torch.fft.fft(across, dim=-2).index_select(-2, self.rows)
        return found

    def weight(self, bfactor_px2: float, lowest: float) -> Tensor:
        """Return ``[ny, nx]``: exp(-B k^2 / 2) for a pair of frames, without frequencies below ``lowest``.

        Columns stand for their conjugates too: all but the first count twice.
        """
        square = self.fy[:, None] ** 2 + self.fx[None, :] ** 2
        weight = torch.exp(-0.5 * bfactor_px2 * square) * -torch.expm1(-square / (2 * lowest**2))
        weight[:, 1:] *= 2.0
        return weight


def narrowed(spectra: Tensor, band: Band, bfactor_px2: float) -> tuple[Tensor, Band]:
    """Return spectra ``[..., ny, nx]`` and band without frequencies that such a B-factor leaves under 1%."""
    limit = (2.0 * 4.6 / bfactor_px2) ** 0.5
    rows = torch.nonzero(band.fy.abs() <= limit)[:, 0]
    columns = int((band.fx <= limit).sum())
    if len(rows) == len(band.fy) and columns == len(band.fx):
        return spectra, band
    part = spectra[..., :columns].index_select(-2, rows)
    return part, Band(band.fy[rows], band.fx[:columns], band.rows[rows], band.size)


def phases(frequencies: Tensor, shifts: Tensor) -> Tensor:
    """Return ``[..., n]`` factors that move content by ``shifts [...]`` pixels, on the device of the frequencies."""
    angle = (-2.0 * math.pi) * shifts.to(frequencies.device, torch.float32)[..., None] * frequencies
    return torch.polar(torch.ones_like(angle), angle)


def own_power(spectra: Tensor) -> Tensor:
    """Return ``[ny, nx]``, the sum of the squares of all frames' spectra."""
    parts = torch.split(spectra, _ROWS[spectra.device.type], dim=1)
    return torch.cat([torch.view_as_real(part).square().sum((0, -1)) for part in parts])


def pulls(spectra: Tensor, power: Tensor, shifts: Tensor, weight: Tensor, band: Band) -> tuple[Tensor, Tensor]:
    """Return gradient ``[frames, 2]`` and mean curvature ``[2, 2]`` of the score, in (x, y), float64, on the CPU.

    Args:
        spectra: ``[frames, ny, nx]``.
        power: their own, which is the same at all shifts.
        shifts: ``[frames, 2]`` pixels (x, y) at which the frames are compared.
        weight: ``[ny, nx]``.
        band: of the spectra.
    """
    count, device = len(spectra), spectra.device
    step = _ROWS[device.type]
    along_x = phases(band.fx, shifts[:, 0])[:, None, :]
    along_y = phases(band.fy, shifts[:, 1])
    gradient = torch.zeros(count, 2, dtype=torch.float64, device=device)
    curvature = torch.zeros(2, 2, dtype=torch.float64, device=device)
    for top in range(0, len(band.fy), step):
        rows = slice(top, top + step)
        moved = along_y[:, rows, None] * along_x
        moved *= spectra[:, rows]
        total = moved.sum(dim=0)
        weighted = weight[rows] * (2.0 * math.pi)
        places = torch.stack([band.fx[None, :].expand_as(weighted), band.fy[rows, None].expand_as(weighted)])
        # -Im(conj(a) b) is the product of the real vectors (a.real, a.imag) and (-b.imag, b.real)
        directed = (weighted * total) * places
        turned = torch.view_as_real(directed * 1j).reshape(2, -1)
        gradient += (torch.view_as_real(moved).reshape(count, -1) @ turned.T).double()
        square = (torch.view_as_real(total).square().sum(-1) - power[rows]) * (weighted * (2.0 * math.pi / count))
        bent = (places * square).flatten(1) @ places.flatten(1).T
        curvature += bent.double()
    return gradient.cpu(), curvature.cpu()


def solve(gradient: Tensor, curvature: Tensor, longest_px: float) -> Tensor:
    """Return the steps ``[frames, 2]`` to the peaks, none longer than ``longest_px``; 0 where there is no peak.

    All frames move at once, so that each takes its part of its distance to the mean of the others.
    """
    if float(torch.linalg.eigvalsh(curvature)[0]) <= 0:
        return torch.zeros_like(gradient)
    count = len(gradient)
    steps = gradient @ torch.linalg.inv(curvature) * ((count - 1) / count)
    length = steps.norm(dim=1, keepdim=True)
    found: Tensor = steps * (longest_px / length.clamp(min=longest_px))
    return found
