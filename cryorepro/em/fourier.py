"""Transforms of images and volumes in the conventions of this package, and the half plane of comparison.

Volumes are taken to a grid ``PADDING`` times finer than their box allows by products with small DFT matrices,
one axis at a time. Only coefficients inside the sphere in use are computed and no padded box is ever stored,
so the cost follows the current resolution; the result is the padded FFT's, up to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.conventions import PADDING, origin_index


@dataclass(frozen=True)
class HalfPlane:
    """Pixels of the half plane within a radius, sorted by their distance, so that a coarser set is a prefix.

    Attributes:
        box_px: size of the images.
        kx, ky: ``[n]`` int64 Fourier indices, kx > 0 or kx = 0 and ky > 0; the origin is left out.
        shell: ``[n]`` int64, ``round(|k|)``, ascending.
        columns: ``[n]`` position of each pixel in a flattened ``rfft2`` of an image.
    """

    box_px: int
    kx: Tensor
    ky: Tensor
    shell: Tensor
    columns: Tensor

    def __len__(self) -> int:
        """Number of pixels."""
        return int(self.kx.shape[0])

    def coarse_length(self, radius: int) -> int:
        """How many leading pixels have ``|k| <= radius``."""
        return int((self.kx**2 + self.ky**2 <= radius**2).sum())

    def prefix(self, length: int) -> HalfPlane:
        """The first ``length`` pixels."""
        return self.part(slice(length))

    def part(self, pixels: slice) -> HalfPlane:
        """Consecutive pixels."""
        parts = [tensor[pixels] for tensor in (self.kx, self.ky, self.shell, self.columns)]
        return HalfPlane(self.box_px, *parts)

    def select(self, order: Tensor) -> HalfPlane:
        """The pixels at ``order``, in that order (``shell`` need not ascend then)."""
        parts = [tensor[order] for tensor in (self.kx, self.ky, self.shell, self.columns)]
        return HalfPlane(self.box_px, *parts)

    def phase_ramps(self, shifts_px: Tensor) -> Tensor:
        """``[t, n]`` complex64 factors that move an image by ``shifts_px [t, 2]`` (x, y) pixels."""
        frequencies = torch.stack([self.kx, self.ky]).to(torch.float64)
        angle = -2.0 * math.pi / self.box_px * (shifts_px.to(frequencies) @ frequencies)
        return torch.complex(torch.cos(angle), torch.sin(angle)).to(torch.complex64)

    def to(self, device: torch.device) -> HalfPlane:
        """The same pixels on another device."""
        moved = [tensor.to(device) for tensor in (self.kx, self.ky, self.shell, self.columns)]
        return HalfPlane(self.box_px, *moved)


def half_plane(box_px: int, max_radius: int) -> HalfPlane:
    """The half plane's pixels with ``|k| <= max_radius``, Nyquist row and column excluded.

    Raises ValueError for an odd box or a radius outside 1 .. box / 2.
    """
    if box_px % 2 or not 1 <= max_radius <= box_px // 2:
        raise ValueError(f"Radius {max_radius} does not fit an even box of {box_px} pixels.")
    reach = min(max_radius, box_px // 2 - 1)
    ky, kx = torch.meshgrid(torch.arange(-reach, reach + 1), torch.arange(reach + 1), indexing="ij")
    ky, kx = ky.flatten(), kx.flatten()
    squared = kx**2 + ky**2
    keep = (squared <= max_radius**2) & ((kx > 0) | (ky > 0))
    kx, ky, squared = kx[keep], ky[keep], squared[keep]
    shell = nearest_shell(squared.double().sqrt())
    order = torch.argsort(squared, stable=True)
    kx, ky, shell = kx[order], ky[order], shell[order]
    return HalfPlane(box_px, kx, ky, shell, (ky % box_px) * (box_px // 2 + 1) + kx)


def nearest_shell(radius: Tensor) -> Tensor:
    """Shell of each distance from the origin; halves go up, as in RELION (torch.round takes them to even)."""
    return torch.floor(radius + 0.5).long()


def image_coefficients(images: Tensor, plane: HalfPlane) -> Tensor:
    """Coefficients ``[b, n]`` of real images ``[b, box, box]`` on ``plane``, origin at the central pixel."""
    box = plane.box_px
    transform = torch.fft.rfft2(images).flatten(1)[:, plane.columns]
    # an even box has its origin at box / 2: the phase of that shift is a sign
    sign = (1 - 2 * ((plane.kx + plane.ky) % 2)).to(images.dtype)
    centred: Tensor = transform * (sign / (box * box))
    return centred


def image_shell_power(images: Tensor, every_stored: bool = False) -> Tensor:
    """``[b, box / 2 + 1]`` sums of ``|F|^2`` over the half plane's shells, Nyquist included.

    ``every_stored`` sums what an ``rfft2`` stores, so that pairs on the line kx = 0 count twice.
    """
    box = images.shape[-1]
    power = torch.fft.rfft2(images).abs().square() / float(box) ** 4
    shell, counted = _shells_of_rfft2(box, images.device, every_stored)
    sums = torch.zeros(images.shape[0], box // 2 + 1, dtype=images.dtype, device=images.device)
    return sums.index_add_(1, shell[counted], power.flatten(1)[:, counted])


def shell_pixel_counts(box_px: int, every_stored: bool = False) -> Tensor:
    """``[box / 2 + 1]`` int64 number of pixels per shell that `image_shell_power` sums over."""
    shell, counted = _shells_of_rfft2(box_px, torch.device("cpu"), every_stored)
    return torch.bincount(shell[counted], minlength=box_px // 2 + 1)


def _shells_of_rfft2(box_px: int, device: torch.device, every_stored: bool) -> tuple[Tensor, Tensor]:
    ky = torch.fft.fftfreq(box_px, 1.0 / box_px, device=device, dtype=torch.float64)[:, None]
    kx = torch.arange(box_px // 2 + 1, device=device, dtype=torch.float64)[None]
    shell = nearest_shell((kx**2 + ky**2).sqrt())
    counted = (shell <= box_px // 2) & ((kx > 0) | (ky >= 0) | every_stored)
    return shell.flatten(), counted.flatten()


def grid_radius(max_radius: int, padding: int = PADDING) -> int:
    """Half width R of the padded grid that serves slices out to ``max_radius``: one cell beyond the last."""
    return padding * max_radius + 1


def volume_to_grid(volume: Tensor, max_radius: int, padding: int = PADDING) -> Tensor:
    """Transform of ``volume [n, n, n]`` on the padded grid, complex ``[2R + 1, 2R + 1, R + 1]`` (kz, ky, kx).

    Grid index k stands for frequency ``k / padding``; kx >= 0 only. Divided by ``n^3``.
    """
    box = volume.shape[-1]
    full = dft_matrix(box, grid_radius(max_radius, padding), padding, volume.dtype, volume.device)
    half = full[grid_radius(max_radius, padding) :]
    grid = torch.einsum("zyx,kx->zyk", volume.to(full.dtype), half)
    grid = torch.einsum("zyk,jy->zjk", grid, full)
    return torch.einsum("zjk,iz->ijk", grid, full) / float(box) ** 3


def grid_to_volume(grid: Tensor, box_px: int, padding: int = PADDING) -> Tensor:
    """Real volume ``[n, n, n]`` of a grid as `volume_to_grid` makes it (kx = 0 plane Hermitian)."""
    radius = grid.shape[-1] - 1
    real_dtype = torch.float64 if grid.dtype == torch.complex128 else torch.float32
    full = dft_matrix(box_px, radius, padding, real_dtype, grid.device).conj()
    half = full[radius:].clone()
    half[1:] *= 2.0  # the mates at kx < 0
    out = torch.einsum("ijk,iz->zjk", grid, full)
    out = torch.einsum("zjk,jy->zyk", out, full)
    real = torch.einsum("zyk,kx->zyx", out.real, half.real) - torch.einsum("zyk,kx->zyx", out.imag, half.imag)
    return real / float(padding) ** 3


def dft_matrix(box_px: int, radius: int, padding: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``exp(-2 pi i k x / (padding n))``, ``[2 radius + 1, n]`` complex; x counted from the origin pixel."""
    k = torch.arange(-radius, radius + 1, device=device, dtype=torch.float64)
    x = torch.arange(box_px, device=device, dtype=torch.float64) - origin_index(box_px)
    angle = -2.0 * math.pi / (padding * box_px) * torch.outer(k, x)
    matrix = torch.complex(torch.cos(angle), torch.sin(angle))
    return matrix.to(torch.complex128 if dtype == torch.float64 else torch.complex64)


def grid_shells(radius: int, padding: int = PADDING) -> tuple[Tensor, Tensor]:
    """Squared length ``[2R + 1, 2R + 1, R + 1]`` int64 in grid steps, and the shell of each grid point."""
    axis = torch.arange(-radius, radius + 1)
    half = torch.arange(radius + 1)
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + half[None, None] ** 2
    return squared, nearest_shell(squared.double().sqrt() / padding)


def trilinear_attenuation(box_px: int, padding: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[n, n, n]``: factor by which trilinear interpolation on the padded grid damps real space.

    The triangle kernel's transform is sinc^2 on each axis.
    """
    x = torch.arange(box_px, device=device, dtype=torch.float64) - origin_index(box_px)
    damping = torch.sinc(x / (padding * box_px)) ** 2
    return (damping[:, None, None] * damping[None, :, None] * damping[None, None]).to(dtype)
