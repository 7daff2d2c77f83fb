"""Volumes from slices: weighted insertion, symmetry, and a Wiener filter with a spectral prior.

Scheres 2012, J. Struct. Biol. 180, 519, equation 6: each coefficient is sum(CTF X / sigma2) divided by
sum(CTF^2 / sigma2) + 1 / (T tau2), both sums spread over the padded grid by projection's trilinear weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.conventions import PADDING
from cryorepro.em.fourier import (
    HalfPlane,
    grid_radius,
    grid_shells,
    grid_to_volume,
    nearest_shell,
    trilinear_attenuation,
)
from cryorepro.em.grid_neighbours import neighbour_attenuation, shared_with_neighbours
from cryorepro.em.projection import (
    Corners,
    corner_offsets,
    corner_weight,
    locate,
    locate_slices,
    points_per_block,
    weights_across_x,
)

# RELION's constants: the prior acts from this shell on; weights stay above this part of their shell's mean.
_FIRST_SHELL_WITH_PRIOR = 5
_WEIGHT_FLOOR = 1e-3
_NO_SIGNAL = 1e-20


class SliceAccumulator:
    """Sums of weighted slices on a padded half grid.

    ``data`` is ``[3, (2R + 1)^2 (R + 1)]``: real and imaginary numerator, and weight.
    """

    def __init__(
        self,
        max_radius: int,
        padding: int = PADDING,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        data: Tensor | None = None,
    ) -> None:
        """Start from zero, for slices out to ``max_radius``; the sums are kept in ``data`` if it is given."""
        self.max_radius = max_radius
        self.padding = padding
        radius = grid_radius(max_radius, padding)
        self.shape = (2 * radius + 1, 2 * radius + 1, radius + 1)
        cells = self.shape[0] * self.shape[1] * self.shape[2]
        self._coordinates = dtype
        self.data = torch.zeros(3, cells, dtype=dtype, device=device) if data is None else data.zero_()

    def insert(self, numerator: Tensor, weight: Tensor, matrices: Tensor, plane: HalfPlane) -> None:
        """Add slices: ``numerator [r, n]`` complex and ``weight [r, n]`` at orientations ``[r, 3, 3]``."""
        rows = max(1, points_per_block(self.data.device) // len(plane))
        radius = self.shape[2] - 1
        for start in range(0, matrices.shape[0], rows):
            block = slice(start, start + rows)
            cell = locate_slices(matrices[block].to(self._coordinates), plane, self.padding, radius)
            self._scatter(cell, numerator[block].reshape(-1), weight[block].reshape(-1))

    def _scatter(self, cell: Corners, numerator: Tensor, weight: Tensor) -> None:
        index = cell.index.long()
        values = numerator.real.contiguous(), numerator.imag * cell.sign, weight
        offsets = [offset for _, _, dx, offset in corner_offsets(self.shape[2] - 1) if dx == 0]
        for across, offset in zip(weights_across_x(cell), offsets, strict=True):
            upper = across * cell.x
            for share, start in ((across.sub_(upper), offset), (upper, offset + 1)):
                for sums, value in zip(self.data, values, strict=True):
                    sums[start:].scatter_add_(0, index, share * value)


def hermitian(data: Tensor) -> Tensor:
    """Add the Friedel mates that fall on the plane kx = 0 of ``data [3, 2R + 1, 2R + 1, R + 1]``."""
    plane = data[..., 0]
    mates = plane.flip((1, 2)) * torch.tensor([1.0, -1.0, 1.0]).to(data)[:, None, None]
    out = data.clone()
    out[..., 0] = plane + mates
    return out


def symmetrise(data: Tensor, symmetry: Tensor) -> Tensor:
    """Sum of Hermitian ``data [3, 2R + 1, 2R + 1, R + 1]`` over the rotations ``symmetry [s, 3, 3]``.

    Grid points whose rotated position leaves the sphere of radius R - 1 keep only what stays inside.
    """
    radius = data.shape[-1] - 1
    squared, _ = grid_shells(radius)
    inside = (squared <= (radius - 1) ** 2).to(data.device)
    kz, ky, kx = inside.nonzero(as_tuple=True)
    points = torch.stack([kx, ky - radius, kz - radius], dim=1).to(data)
    flat = data.reshape(3, -1)
    total = torch.zeros(3, points.shape[0], dtype=data.dtype, device=data.device)
    for operator in symmetry.to(data):
        nearest = operator.round()
        # the operators of cubic groups move grid points onto grid points: nothing to interpolate
        exact = bool((operator - nearest).abs().max() < 1e-6)
        total += _gather(flat, points @ nearest.T, radius) if exact else _interpolate(flat, points @ operator.T, radius)
    out = torch.zeros_like(data)
    out[:, inside] = total
    return out


def _gather(flat: Tensor, points: Tensor, radius: int) -> Tensor:
    """Values ``[3, p]`` at points that lie on the grid."""
    sign = torch.where(points[:, 0] < 0, -1.0, 1.0).to(points.dtype)
    x, y, z = (points * sign[:, None]).long().unbind(1)
    side = 2 * radius + 1
    values = flat[:, ((z + radius) * side + y + radius) * (radius + 1) + x]
    values[1] *= sign
    return values


def _interpolate(flat: Tensor, points: Tensor, radius: int) -> Tensor:
    # a rotation by a group element may land a hair below a grid plane: keep such points on it
    nearest = points.round()
    cell = locate(torch.where((points - nearest).abs() < 1e-4, nearest, points), radius)
    total = torch.zeros(3, points.shape[0], dtype=flat.dtype, device=flat.device)
    for dz, dy, dx, offset in corner_offsets(radius):
        total += flat[:, cell.index + offset] * corner_weight(cell, dz, dy, dx)
    total[1] *= cell.sign
    return total


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed map and the spectra that describe it, ``[box / 2 + 1]`` float64 each.

    Attributes:
        volume: ``[n, n, n]``.
        sigma2: variance of the map's own noise, one over the mean weight of a shell (infinite if empty).
        data_vs_prior: T tau2 / sigma2, the signal-to-noise ratio per shell.
        coverage: fraction of a shell's coefficients where data outweighs the prior.
    """

    volume: Tensor
    sigma2: Tensor
    data_vs_prior: Tensor
    coverage: Tensor


def shell_noise(weight: Tensor, box_px: int, max_radius: int, padding: int = PADDING) -> Tensor:
    """sigma2 ``[box / 2 + 1]`` float64 of a Hermitian weight grid ``[2R + 1, 2R + 1, R + 1]``."""
    mean = _shell_mean(weight, box_px, max_radius, padding)
    return 1.0 / (padding**3 * mean)


def _shell_mean(values: Tensor, box_px: int, max_radius: int, padding: int) -> Tensor:
    """Mean of a half grid over shells within ``max_radius``.

    Every stored point counts once, as in RELION, so that spectra can be laid over its own.
    """
    inside, shell = _inside(values.shape[-1] - 1, max_radius, padding, values.device)
    return _mean_of_shells(values.reshape(-1)[inside], shell, box_px)


def _inside(radius: int, max_radius: int, padding: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Flat index ``[p]`` of the points of a half grid within ``max_radius``, and the shell of each."""
    axis, half = torch.arange(-radius, radius + 1, device=device) ** 2, torch.arange(radius + 1, device=device) ** 2
    squared = (axis[:, None, None] + axis[None, :, None] + half).flatten()
    limit = (padding * max_radius) ** 2
    inside = (squared <= limit).nonzero()[:, 0]
    # a shell depends on the squared length alone, of which there are few
    shell_of = nearest_shell(torch.arange(limit + 1, device=device).double().sqrt() / padding)
    return inside, shell_of[squared[inside]]


def _mean_of_shells(values: Tensor, shell: Tensor, box_px: int) -> Tensor:
    """Mean ``[box / 2 + 1]`` float64 of ``values [p]`` in each shell; 0 where there is none."""
    count = torch.bincount(shell, minlength=box_px // 2 + 1)
    total = torch.zeros(count.shape, dtype=torch.float64, device=values.device)
    return total.index_add_(0, shell, values.double()) / count.clamp(min=1)


def reconstruct(
    data: Tensor,
    box_px: int,
    max_radius: int,
    tau2: Tensor,
    tau2_fudge: float,
    padding: int = PADDING,
) -> Reconstruction:
    """Wiener-filtered map of Hermitian (and symmetrised) sums ``data [3, 2R + 1, 2R + 1, R + 1]``.

    ``tau2 [box / 2 + 1]`` is the signal's spectrum in the volume's own scale; where it vanishes the map is
    damped a thousandfold, as RELION does, rather than set to zero.
    """
    inside, shell = _inside(data.shape[-1] - 1, max_radius, padding, data.device)
    mean_weight = _mean_of_shells(data[2].reshape(-1)[inside], shell, box_px)
    real, imaginary, weight = (
        shared_with_neighbours(part, sign).reshape(-1)[inside].double()
        for part, sign in zip(data, (1.0, -1.0, 1.0), strict=True)
    )
    prior = 1.0 / (padding**3 * tau2_fudge * tau2.double().clamp(min=_NO_SIGNAL)).to(data.device)
    has_signal = (tau2.to(data.device) > _NO_SIGNAL)[shell]
    total_prior = torch.where(has_signal, prior[shell], weight / _WEIGHT_FLOOR)
    total_prior = torch.where(shell >= _FIRST_SHELL_WITH_PRIOR, total_prior, 0.0)
    floor = (mean_weight * _WEIGHT_FLOOR).clamp(min=1e-30)[shell]
    divisor = torch.maximum(weight + total_prior, floor)
    grid = torch.zeros(data[0].numel(), dtype=torch.complex64, device=data.device)
    grid[inside] = torch.complex(real / divisor, imaginary / divisor).to(torch.complex64)
    volume = grid_to_volume(grid.reshape(data.shape[1:]), box_px, padding) / box_px
    volume = volume / trilinear_attenuation(box_px, padding, volume.dtype, volume.device)
    volume = volume / neighbour_attenuation(box_px, padding, volume.dtype, volume.device)
    sigma2 = 1.0 / (padding**3 * mean_weight)
    data_vs_prior = torch.where(mean_weight > 0, tau2_fudge * tau2.to(sigma2) / sigma2, 0.0)
    coverage = _mean_of_shells((weight > prior[shell]) & has_signal, shell, box_px)
    return Reconstruction(volume, sigma2, data_vs_prior, coverage)


def reference_power(projector_grid: Tensor, box_px: int, max_radius: int, padding: int = PADDING) -> Tensor:
    """tau2 ``[box / 2 + 1]``: mean of ``|F|^2 / 2`` over the shells of a projector's padded grid."""
    return _shell_mean(projector_grid.abs().square() / 2.0, box_px, max_radius, padding)
