"""How much a score may still gain from the shells a level has not compared.

Let X = C Y + e be an image, Y the slice of the true pose, and Y' that of any other.  The score of Y' over a set of
shells, ``Re<X, C Y'>/s2 - |C Y'|^2/(2 s2)``, is at most ``|C Y|^2/(2 s2)`` plus a term of the noise whose deviation is
``sqrt(|C Y'|^2/s2)``.  With the largest power P any slice has there, the gain stays below ``P/2 + 4 sqrt(P)`` with
probability 0.99997.  The form of the bound is that of Punjani et al. 2017 (Nature Methods 14, 290, Online Methods);
it takes the mean of CTF^2 over a shell and a sample of slices for the largest power.

A cell's centre also scores less than the best pose within the cell: by a share of ``P/2`` of the shells compared that
grows as the square of the phase error at the cell's edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cryorepro.em.fourier import HalfPlane
from cryorepro.em.homogeneous.levels import Level
from cryorepro.em.preparation import Prepared
from cryorepro.em.projection import Projector

_DEVIATIONS = 4.0
_VIEWS = 64
# Of P/2, measured on a particle of even density: most of the power is in shells well within the last.
_LOST_PER_SQUARED_PHASE = 0.03


def largest_shell_power(projector: Projector, matrices: Tensor, plane: HalfPlane, shells: int) -> Tensor:
    """``[shells]`` largest power (sum of ``|Y|^2`` over the half plane) among views spread over ``matrices``."""
    step = max(1, matrices.shape[0] // _VIEWS)
    power = projector.slices(matrices[::step], plane).abs().square()
    return shell_sums(power, plane, shells).amax(dim=0)


def shell_sums(values: Tensor, plane: HalfPlane, shells: int) -> Tensor:
    """Sums ``[b, shells]`` of ``values [b, n]`` over the shells of ``plane``."""
    out = torch.zeros(values.shape[0], shells, dtype=values.dtype, device=values.device)
    return out.index_add_(1, plane.shell, values)


def possible_gain(images: Prepared, scale: Tensor, plane: HalfPlane, power: Tensor, levels: Sequence[Level]) -> Tensor:
    """``[b, levels]`` most that a candidate's score on each level can still gain, in nats.

    ``power [shells]`` is that of `largest_shell_power`, ``scale [b]`` the images' intensity.
    """
    shells = power.shape[0]
    weight = shell_sums((images.ctf * scale[:, None]).square() * images.inverse_sigma2, plane, shells)
    members = torch.bincount(plane.shell, minlength=shells).clamp(min=1)
    largest = weight / members * power
    cumulative = largest.cumsum(dim=1)
    compared = torch.stack([cumulative[:, level.radius] for level in levels], dim=1)
    beyond = (cumulative[:, levels[-1].radius, None] - compared).clamp(min=0.0)
    lost = torch.tensor([min(1.0, _LOST_PER_SQUARED_PHASE * level.phase**2) for level in levels]).to(compared)
    return 0.5 * beyond + _DEVIATIONS * beyond.sqrt() + 0.5 * lost * compared
