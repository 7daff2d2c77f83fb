"""The gradient of a mini-batch's log-likelihood with respect to a map, and the step it leads to.

With the posterior weights held, the log-likelihood of the images is quadratic in the map V; its gradient is the
back-projected residual ``A^T w (X - A V)``, which at the current map equals the gradient of the marginal likelihood
(Fisher's identity; Punjani et al. 2017, Nature Methods 14, 290, supplementary note 1). The expectation step
returns ``A^T w X`` (numerator) and the diagonal ``W`` of ``A^T w A``, both on the padded grid. Taking ``A^T w A V`` as
``W F(V)`` is what a reconstruction by direct Fourier inversion does; the difference to the exact gradient is measured
in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.fourier import grid_shells, grid_to_volume, trilinear_attenuation, volume_to_grid
from cryorepro.em.masks import raised_cosine
from cryorepro.em.reconstruction import shell_noise

_TINY = 1e-30
# A shell's filter falls from one to zero over this many shells around the current resolution.
_EDGE_SHELLS = 2.0


@dataclass(frozen=True)
class Gradient:
    """One class's gradient on the padded grid, in the scale of the sums of the expectation step.

    Attributes:
        residual: complex ``[2R + 1, 2R + 1, R + 1]``.
        weight: ``[2R + 1, 2R + 1, R + 1]``, the diagonal of the curvature.
    """

    residual: Tensor
    weight: Tensor


def batch_gradient(data: Tensor, volume: Tensor, prior: Tensor, max_radius: int, padding: int) -> Gradient:
    """Gradient at ``volume [n, n, n]`` from Hermitian sums ``data [3, 2R + 1, 2R + 1, R + 1]``.

    ``prior [n / 2 + 1]`` is the curvature of a Gaussian prior of mean zero on every shell.

    The sums were spread by trilinear weights, which damps real space; the map is damped alike before the two are
    compared, so that the gradient vanishes where the map explains the images.
    """
    box = volume.shape[-1]
    damped = volume.double() * trilinear_attenuation(box, padding, torch.float64, volume.device)
    current = volume_to_grid(damped, max_radius, padding) * box
    weight = data[2].double()
    _, shell = grid_shells(weight.shape[-1] - 1, padding)
    pull = weight + prior[shell.clamp(max=box // 2)]
    return Gradient(torch.complex(data[0].double(), data[1].double()) - pull * current, weight)


def to_real_space(grid: Tensor, box_px: int, padding: int) -> Tensor:
    """``[n, n, n]`` float64: the map whose padded transform is ``grid``, undamped."""
    volume = grid_to_volume(grid, box_px, padding) / box_px
    return volume / trilinear_attenuation(box_px, padding, volume.dtype, volume.device)


def shell_weight(weight: Tensor, box_px: int, max_radius: int, padding: int) -> Tensor:
    """Mean ``[n / 2 + 1]`` float64 of a batch's weight over every shell."""
    # the noise of a map is one over the mean weight on the box's own grid
    return (1.0 / (padding**3 * shell_noise(weight, box_px, max_radius, padding))).nan_to_num(posinf=0.0)


def preconditioned(
    gradient: Gradient, curvature: Tensor, prior: Tensor, max_radius: int, box_px: int, padding: int
) -> Tensor:
    """The step ``[n, n, n]`` float64 that a diagonal Newton method would take.

    Args:
        gradient: of one class.
        curvature: ``[n / 2 + 1]`` running mean of the shells' weight.
        prior: ``[n / 2 + 1]`` curvature of the prior.
        max_radius: last shell that changes; the step fades out around it.
        box_px: box size.
        padding: of the grid.

    Coefficients that this batch saw less than the mean of their shell move by a part of their Newton step alone:
    a coefficient met once does not take the noise of one image for its value.
    """
    squared, shell = grid_shells(gradient.weight.shape[-1] - 1, padding)
    shell = shell.clamp(max=box_px // 2)
    divisor = torch.maximum(gradient.weight, curvature[shell]) + prior[shell]
    radius = squared.double().sqrt() / padding
    taper = raised_cosine((radius - max_radius + _EDGE_SHELLS / 2.0) / _EDGE_SHELLS)
    inside = squared <= (padding * max_radius) ** 2
    step = gradient.residual / divisor.clamp(min=_TINY) * (taper * inside)
    return to_real_space(step, box_px, padding)


def running_curvature(previous: Tensor, batch: Tensor, momentum: float) -> Tensor:
    """Running mean ``[n / 2 + 1]`` of shell weights; a shell that is new takes the batch's value."""
    return torch.where(previous > 0.0, momentum * previous + (1.0 - momentum) * batch, batch)
