"""Log-likelihoods of poses: chosen orientations of chosen images, each at a few shifts.

The score is ``Re sum conj(X_t) c P / s2 - sum c^2 |P|^2 / (2 s2)`` over a half plane, c the CTF times the image's
intensity (Scheres 2012, J. Mol. Biol. 415, 406, equation 3).  Where the intensity is not known the best one is put in:
``max(0, cross)^2 / (2 power)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.fourier import HalfPlane
from cryorepro.em.homogeneous.candidates import Candidates
from cryorepro.em.preparation import Prepared
from cryorepro.em.projection import Projector

NUMBERS_AT_ONCE = 1 << 23
"""Gathered at once on a CPU."""


@dataclass(frozen=True)
class Weighted:
    """Images as scores use them, on the pixels of ``plane``.

    Attributes:
        plane: half plane, nearest pixels first.
        values: ``[b, n]`` complex64, image times c / s2.
        power: ``[b, n]`` float32, c^2 / s2.
        any_scale: compare at the best intensity.
        numbers: of slices and images that are gathered at once.
    """

    plane: HalfPlane
    values: Tensor
    power: Tensor
    any_scale: bool
    numbers: int = NUMBERS_AT_ONCE

    def scores(self, cross: Tensor, power: Tensor) -> Tensor:
        """From the cross term and the power term, which must broadcast."""
        if self.any_scale:
            return cross.clamp(min=0.0).square() / (2.0 * power.clamp(min=1e-30))
        return cross - 0.5 * power


def weighted_images(
    plane: HalfPlane, images: Prepared, scale: Tensor, any_scale: bool, numbers: int = NUMBERS_AT_ONCE
) -> Weighted:
    """The prepared images of intensities ``scale [b]``; for the rest see `Weighted`."""
    modelled = images.ctf * scale[:, None]
    weight = modelled * images.inverse_sigma2
    return Weighted(plane, images.masked * weight, modelled * weight, any_scale, numbers)


def score_children(
    projector: Projector, data: Weighted, parents: Candidates, children: Tensor, offsets: Tensor, radius: int
) -> Candidates:
    """Score ``children [c, m, 3, 3]`` of every parent at its shift plus ``offsets [t, 2]``; each keeps its best shift.

    Only pixels within ``radius`` are compared.  Returns c * m candidates.
    """
    best = block_scores(projector, data, parents, children, offsets, radius).max(dim=1)
    members = children.shape[1]
    shifts = parents.shifts.repeat_interleave(members, dim=0) + offsets[best.indices.flatten()]
    image = parents.image.repeat_interleave(members)
    return Candidates(image, children.reshape(-1, 3, 3), shifts, best.values.flatten())


def score_poses(projector: Projector, data: Weighted, poses: Candidates, radius: int) -> Candidates:
    """The same poses with their scores over the shells to ``radius``."""
    return score_children(projector, data, poses, poses.matrices[:, None], poses.shifts.new_zeros(1, 2), radius)


def block_scores(
    projector: Projector, data: Weighted, parents: Candidates, children: Tensor, offsets: Tensor, radius: int
) -> Tensor:
    """Scores ``[c, t, m]`` of ``children [c, m, 3, 3]`` at their parents' shifts plus ``offsets [t, 2]``."""
    pixels = data.plane.coarse_length(radius)
    per_parent = pixels * 2 * (offsets.shape[0] + children.shape[1])
    blocks = torch.split(torch.arange(children.shape[0], device=children.device), max(1, data.numbers // per_parent))
    return torch.cat([_scores(projector, data, parents.select(b), children[b], offsets, pixels) for b in blocks])


def _scores(
    projector: Projector, data: Weighted, parents: Candidates, children: Tensor, offsets: Tensor, pixels: int
) -> Tensor:
    count, members = children.shape[:2]
    plane = data.plane.prefix(pixels)
    slices = torch.empty(count * members, 2, pixels, device=children.device)
    projector.slices_into(slices, children.reshape(-1, 3, 3), plane)
    slices = slices.reshape(count, members, 2 * pixels)
    # the parent's own shift first, then the few offsets all parents share
    moved = data.values[parents.image, :pixels] * plane.phase_ramps(parents.shifts)
    shifted = moved[:, None] * plane.phase_ramps(offsets)
    flat = torch.view_as_real(shifted).transpose(2, 3).reshape(count, offsets.shape[0], 2 * pixels)
    cross = torch.bmm(flat, slices.transpose(1, 2))
    weight = data.power[parents.image, :pixels].repeat(1, 2)
    power = torch.bmm(slices.square_(), weight[:, :, None])[:, None, :, 0]
    return data.scores(cross, power)
