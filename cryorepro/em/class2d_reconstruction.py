"""Class averages from the sums of an expectation step: a Wiener filter with a spectral prior, in two dimensions.

Scheres 2012, J. Struct. Biol. 180, 519, equation 6, applied to images: each coefficient is sum(CTF X / sigma2) divided
by sum(CTF^2 / sigma2) + 1 / (T tau2), both sums spread over the padded grid by bilinear weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.class2d_turning import grids_to_images
from cryorepro.em.fourier import nearest_shell

# RELION's constants: the prior acts from this shell on; weights stay above this part of their shell's mean.
_FIRST_SHELL_WITH_PRIOR = 5
_WEIGHT_FLOOR = 1e-3
_NO_SIGNAL = 1e-20


@dataclass(frozen=True)
class Averages:
    """Class averages ``[k, n, n]`` float32 and the spectra that describe them, ``[k, n / 2 + 1]`` float64 each.

    Attributes:
        images: the averages.
        sigma2: variance of the averages' own noise, one over the mean weight of a shell (infinite if empty).
        data_vs_prior: T tau2 / sigma2, the signal-to-noise ratio per shell.
        coverage: fraction of a shell's coefficients where data outweighs the prior.
    """

    images: Tensor
    sigma2: Tensor
    data_vs_prior: Tensor
    coverage: Tensor

    def on_cpu(self) -> Averages:
        """The same on the CPU."""
        return Averages(*(getattr(self, name).cpu() for name in self.__dataclass_fields__))


def reconstruct_averages(
    grids: Tensor, box_px: int, max_radius: int, tau2: Tensor | None, tau2_fudge: float, padding: int
) -> Averages:
    """Averages of Hermitian sums ``grids [k, 3, rows, columns]``; ``tau2 [k, n / 2 + 1]`` or None for no prior.

    Where tau2 vanishes the average is damped a thousandfold rather than set to zero. Empty classes give zeros.
    """
    shells = box_px // 2 + 1
    squared, shell = _shells(grids.shape[-1] - 1, padding, grids.device)
    weight = grids[:, 2].double()
    mean = _shell_means(weight, squared, shell, max_radius, padding, shells)
    shell = shell.clamp(max=shells - 1)
    floor = (mean * _WEIGHT_FLOOR).clamp(min=1e-30)[:, shell]
    divisor, coverage = weight, torch.ones_like(mean)
    sigma2 = 1.0 / (padding**2 * mean)
    ratio = torch.zeros_like(mean)
    if tau2 is not None:
        prior = 1.0 / (padding**2 * tau2_fudge * tau2.clamp(min=_NO_SIGNAL))
        has_signal = (tau2 > _NO_SIGNAL)[:, shell]
        added = torch.where(has_signal, prior[:, shell], weight / _WEIGHT_FLOOR)
        divisor = weight + torch.where(shell >= _FIRST_SHELL_WITH_PRIOR, added, 0.0)
        covered = ((weight > prior[:, shell]) & has_signal).double()
        coverage = _shell_means(covered, squared, shell, max_radius, padding, shells)
        ratio = torch.where(mean > 0, tau2_fudge * tau2 / sigma2, 0.0)
    divisor = torch.maximum(divisor, floor)
    inside = squared <= (padding * max_radius) ** 2
    grid = torch.complex(grids[:, 0].double() / divisor, grids[:, 1].double() / divisor) * inside
    return Averages(grids_to_images(grid.to(torch.complex64), box_px, padding), sigma2, ratio, coverage)


def average_power(grids: Tensor, box_px: int, max_radius: int, padding: int) -> Tensor:
    """tau2 ``[k, box / 2 + 1]`` float64: shell means of ``|F|^2 / 2`` of padded grids ``[k, rows, columns]``."""
    squared, shell = _shells(grids.shape[-1] - 1, padding, grids.device)
    power = grids.abs().square().double() / 2.0
    return _shell_means(power, squared, shell, max_radius, padding, box_px // 2 + 1)


def _shells(radius: int, padding: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Squared length ``[2R + 1, R + 1]`` int64 in grid steps, and the shell of each grid point."""
    steps = torch.arange(-radius, radius + 1, device=device)
    squared = steps[:, None] ** 2 + steps[None, radius:] ** 2
    return squared, nearest_shell(squared.double().sqrt() / padding)


def _shell_means(values: Tensor, squared: Tensor, shell: Tensor, max_radius: int, padding: int, shells: int) -> Tensor:
    """Mean ``[k, shells]`` over shells within ``max_radius``; every stored point counts once, as in RELION."""
    use = squared <= (padding * max_radius) ** 2
    numbers = shell[use]
    empty = torch.zeros(values.shape[0], shells, dtype=torch.float64, device=values.device)
    total = empty.index_add_(1, numbers, values[:, use])
    return total / torch.bincount(numbers, minlength=shells).double().clamp(min=1.0)
