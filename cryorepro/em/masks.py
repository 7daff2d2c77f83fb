"""Soft circular and spherical masks (raised cosine edges outside the radius, as in RELION)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cryorepro.em.conventions import origin_index

EDGE_PX = 5.0
"""Width of the soft edge of particle masks, RELION's default."""


def soft_mask(box_px: int, dimensions: int, radius_px: float, edge_px: float = EDGE_PX) -> Tensor:
    """``[box] * dimensions`` float32: 1 up to ``radius_px`` from the origin pixel, 0 beyond radius + edge."""
    axis = (torch.arange(box_px, dtype=torch.float64) - origin_index(box_px)) ** 2
    squared = sum(
        (axis.reshape([-1 if i == d else 1 for i in range(dimensions)]) for d in range(dimensions)),
        start=torch.zeros([box_px] * dimensions, dtype=torch.float64),
    )
    return raised_cosine((squared.sqrt() - radius_px) / max(edge_px, 1e-6)).float()


def soft_circle(box_px: int, radius_px: float, edge_px: float = EDGE_PX) -> Tensor:
    """`soft_mask` of an image ``[box, box]``."""
    return soft_mask(box_px, 2, radius_px, edge_px)


def soft_sphere(box_px: int, radius_px: float, edge_px: float = EDGE_PX) -> Tensor:
    """`soft_mask` of a volume ``[box, box, box]``."""
    return soft_mask(box_px, 3, radius_px, edge_px)


def raised_cosine(position: Tensor) -> Tensor:
    """1 where ``position`` <= 0, 0 where it is >= 1, half a cosine wave between."""
    return 0.5 + 0.5 * torch.cos(math.pi * position.clamp(0.0, 1.0))


def mask_images(images: Tensor, mask: Tensor, outside: Tensor | None = None) -> Tensor:
    """Replace what lies outside ``mask [n, n]`` in images ``[b, n, n]``.

    The replacement is ``outside`` ``[b, n, n]`` (noise), or by default the mean of each image's own outside,
    weighted by ``1 - mask``: RELION's --zero_mask.
    """
    beyond = 1.0 - mask
    if outside is None:
        mean = (images * beyond).sum(dim=(1, 2)) / beyond.sum().clamp(min=1e-6)
        outside = mean[:, None, None].expand_as(images)
    return images * mask + outside * beyond
