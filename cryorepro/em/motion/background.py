"""The slowly varying background of a micrograph: ice thickness and illumination, without particles."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCKS = 48
_SMALLEST_BLOCK_PX = 8


def estimate_background(image: Tensor) -> tuple[Tensor, float]:
    """Return a small picture ``[rows, columns]`` of the background of ``image [h, w]``, and pixels per its pixel.

    Medians of 5 x 5 means of blocks: a particle that is dark or bright in a few blocks does not show.
    """
    side = max(_SMALLEST_BLOCK_PX, min(image.shape) // _BLOCKS)
    side = min(side, min(image.shape))
    means = torch.nn.functional.avg_pool2d(image[None, None], side)
    padded = torch.nn.functional.pad(means, (2, 2, 2, 2), mode="replicate")[0, 0]
    windows = padded.unfold(0, 5, 1).unfold(1, 5, 1).reshape(*means.shape[2:], 25)
    return windows.median(dim=2).values, float(side)
