"""Templates that are images of the particle: class averages, or projections of a map, in every in-plane rotation.

Each is low-passed, drawn at the micrograph's coarse pixel turned by psi (conventions, "Rotations"), multiplied by the
micrograph's CTF where that is known, and cut to a round support.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cryorepro.em.ctf import CtfParameters, ctf_values
from cryorepro.em.devices.choice import CPU
from cryorepro.em.picking.blob_templates import SUPPORT_PER_DIAMETER
from cryorepro.em.picking.correlation import normalised
from cryorepro.em.picking.micrograph import Band

_CTF_ROOM = 1.5


@dataclass(frozen=True)
class References:
    """Images ``[r, n, n]`` of the particle, protein bright, their classes from 1, and their pixel size."""

    images: Tensor
    classes: tuple[int, ...]
    pixel_size_angstrom: float

    def to(self, device: torch.device) -> References:
        """The same images on another device."""
        return replace(self, images=self.images.to(device))


@dataclass(frozen=True)
class TemplatePlan:
    """How references become templates: the coarse pixel, low-pass and diameter in Angstrom, and the step of psi."""

    pixel_size_angstrom: float
    lowpass_angstrom: float
    diameter_angstrom: float
    step_deg: float

    @property
    def psi_deg(self) -> list[float]:
        """In-plane angles, evenly spaced by at most the step; one where the step is 360."""
        count = max(1, math.ceil(360.0 / self.step_deg - 1e-9))
        return [360.0 * i / count for i in range(count)]

    def labels(self, references: References) -> tuple[list[float], list[int]]:
        """psi and class of every template, in the order of `templates`."""
        psi = self.psi_deg
        return psi * len(references.classes), [number for number in references.classes for _ in psi]

    @property
    def side_px(self) -> int:
        """Odd side of a template, with room for what the CTF spreads beyond the support."""
        reach = 0.5 * SUPPORT_PER_DIAMETER * _CTF_ROOM * self.diameter_angstrom / self.pixel_size_angstrom
        return 2 * math.ceil(reach) + 1

    def support(self, device: torch.device = CPU) -> Tensor:
        """``[n, n]`` of zeros and ones."""
        return (self._radius(device) <= 0.5 * SUPPORT_PER_DIAMETER * self.diameter_angstrom).float()

    def templates(self, references: References, ctf: CtfParameters | None) -> Iterator[Tensor]:
        """All rotations ``[psi, n, n]`` of one reference after the other, on the references' device."""
        device = references.images.device
        support, side = self.support(device), self.side_px
        transfer = None if ctf is None else self._transfer(ctf.to(device))
        for image in lowpassed(references, self.lowpass_angstrom):
            turned = self._turned(image, references.pixel_size_angstrom)
            if transfer is not None:
                spectrum = torch.fft.rfft2(torch.fft.ifftshift(turned, dim=(-2, -1))) * transfer
                turned = torch.fft.fftshift(torch.fft.irfft2(spectrum, s=(side, side)), dim=(-2, -1))
            yield normalised(turned, support)

    def _radius(self, device: torch.device) -> Tensor:
        axis = (torch.arange(self.side_px, device=device) - self.side_px // 2) * self.pixel_size_angstrom
        return torch.hypot(axis[None].float(), axis[:, None].float())

    def _turned(self, image: Tensor, pixel_size_angstrom: float) -> Tensor:
        """``[psi, n, n]``: the image at ``Rz(psi)^T v`` for every place v of the template; 0 outside its box."""
        box = image.shape[-1]
        places = torch.arange(self.side_px, device=image.device) - self.side_px // 2
        axis = places * (self.pixel_size_angstrom / pixel_size_angstrom)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        psi = torch.deg2rad(torch.tensor(self.psi_deg, device=image.device))[:, None, None]
        c, s = psi.cos(), psi.sin()
        source = torch.stack([c * x - s * y, s * x + c * y], dim=-1) + box // 2
        grid = (2.0 * source + 1.0) / box - 1.0
        repeated = image.expand(len(psi), 1, box, box)
        return grid_sample(repeated, grid.float(), mode="bicubic", padding_mode="zeros", align_corners=False)[:, 0]

    def _transfer(self, ctf: CtfParameters) -> Tensor:
        """The CTF ``[n, n // 2 + 1]`` of a micrograph on the template's grid."""
        side, device = self.side_px, ctf.voltage_kv.device
        ky = torch.fft.fftfreq(side, 1.0 / side, device=device)[:, None].expand(side, side // 2 + 1)
        kx = torch.fft.rfftfreq(side, 1.0 / side, device=device)[None].expand(side, side // 2 + 1)
        values = ctf_values(ctf, kx.reshape(-1), ky.reshape(-1), side, self.pixel_size_angstrom)
        return values.reshape(side, side // 2 + 1)


def lowpassed(references: References, lowpass_angstrom: float) -> Tensor:
    """The references' images without what is finer than the low-pass."""
    box, pixel = references.images.shape[-1], references.pixel_size_angstrom
    device = references.images.device
    kx, ky = torch.fft.rfftfreq(box, pixel, device=device), torch.fft.fftfreq(box, pixel, device=device)
    frequency = torch.hypot(kx[None], ky[:, None])
    weights = Band(pixel, lowpass_angstrom).weights(frequency)
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(references.images.float()) * weights, s=(box, box))
    return found


def project(volume: Tensor, matrices: Tensor) -> Tensor:
    """Projections ``[r, n, n]`` of ``volume [n, n, n]`` along z of the image frames ``matrices [r, 3, 3]``.

    Sampled in real space, trilinearly: enough far below the voxels' resolution, which is where templates are used.
    """
    box = volume.shape[-1]
    axis = torch.arange(box, dtype=torch.float32) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    frame = torch.stack([x, y, z], dim=-1)
    found = []
    for matrix in matrices.float():
        # rows of frame times A are (A^T v)^T: the place in the reference of a place in the image
        grid = (2.0 * (frame @ matrix + box // 2) + 1.0) / box - 1.0
        turned = grid_sample(volume.float()[None, None], grid[None], mode="bilinear", align_corners=False)
        found.append(turned[0, 0].sum(dim=0))
    return torch.stack(found)
