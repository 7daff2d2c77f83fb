"""Small copies of frames for alignment: corrected, binned in real space, without their outliers and mean.

A B-factor leaves little beyond a fraction of the sampling frequency, so frames are binned by a whole number first and
only small transforms are made, never one of full size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_ROWS = {"cpu": 64, "cuda": 4096}
"""Rows of a frame that are reduced at once."""
_CLIP_DEVIATIONS = 5.0
_LONGEST_SIDE = 2048
_SMALLEST_WEIGHT = 1e-2


def binning(bfactor_px2: float, height: int, width: int) -> int:
    """Return the factor at which the weight of a pair of frames, exp(-B k^2 / 2), is 1% at the edge or less."""
    limit = math.sqrt(-2.0 * math.log(_SMALLEST_WEIGHT) / max(bfactor_px2, 1e-6))
    by_weight = max(1, math.floor(0.5 / limit))
    by_size = math.ceil(max(height, width) / _LONGEST_SIDE)
    return max(1, min(max(by_weight, by_size), min(height, width) // 32))


def reduce_frames(frames: Sequence[Tensor], gain: Tensor | None, factor: int) -> Tensor:
    """Return ``[frames, h // factor, w // factor]`` float32 sums of blocks, less each frame's mean, outliers cut.

    Rows and columns beyond a multiple of ``factor`` are left out.
    """
    height, width = (side // factor for side in frames[0].shape)
    out = torch.empty(len(frames), height, width, device=frames[0].device)
    step = min(height, max(1, _ROWS[out.device.type] // factor))
    buffer = torch.empty(step * factor, width * factor, device=out.device)
    for number, frame in enumerate(frames):
        for top in range(0, height, step):
            rows = slice(top * factor, min(top + step, height) * factor)
            part = buffer[: rows.stop - rows.start]
            part.copy_(frame[rows, : width * factor])
            if gain is not None:
                part.mul_(gain[rows, : width * factor])
            columns = part.view(-1, factor, width * factor).sum(dim=1)
            binned = columns[:, ::factor].clone()
            for place in range(1, factor):
                binned += columns[:, place::factor]
            out[number, top : top + step] = binned
        _settle(out[number])
    return out


def _settle(image: Tensor) -> None:
    image.sub_(image.mean())
    reach = _CLIP_DEVIATIONS * float(torch.linalg.vector_norm(image)) / image.numel() ** 0.5
    image.clamp_(-reach, reach)
    image.sub_(image.mean())


def taper(length: int, edge: int, device: torch.device | None = None) -> Tensor:
    """Return ``[length]``: 1 inside, falling to 0 by half a cosine over ``edge`` at both ends."""
    place = torch.arange(length, dtype=torch.float32, device=device) + 0.5
    nearest = torch.minimum(place, length - place)
    return 0.5 - 0.5 * torch.cos(math.pi * (nearest / max(edge, 1)).clamp(max=1.0))
