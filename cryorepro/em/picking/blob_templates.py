"""Blobs that stand for particles of which only the size is known: discs, ellipses and rings with a soft edge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cryorepro.em.picking.correlation import normalised

SUPPORT_PER_DIAMETER = 1.2
"""Diameter of what is compared, in diameters of the blob: its surrounding counts, its neighbours should not."""
SHAPES = ("circular", "elliptical", "ring")
_INNER_OF_RING = 0.5
_DIAMETER_STEP = 1.12
_ELLIPSE_STEP_DEG = 15.0
_EDGE_PER_LOWPASS = 0.125


@dataclass(frozen=True)
class Blobs:
    """Templates of one support.

    Attributes:
        support: ``[n, n]`` of zeros and ones.
        templates: ``[k, n, n]``, mean 0 and length 1 under the support.
        shapes: Number in ``SHAPES``, from 1, of every template.
        diameter_angstrom: Diameter of the support's blob; the long axis of an ellipse.
        angles_deg: Of the long axis from x towards y; 0 for what is round.
    """

    support: Tensor
    templates: Tensor
    shapes: list[int]
    diameter_angstrom: float
    angles_deg: list[float]


def diameters(smallest: float, largest: float) -> list[float]:
    """Diameters in even ratios of at most 1.12, both ends included; coefficients change little between them."""
    steps = max(0, math.ceil(math.log(largest / smallest) / math.log(_DIAMETER_STEP) - 1e-9))
    return [smallest * (largest / smallest) ** (i / steps) for i in range(steps + 1)] if steps else [smallest]


def blob_templates(
    smallest_angstrom: float,
    largest_angstrom: float,
    shapes: frozenset[str],
    pixel_size_angstrom: float,
    lowpass_angstrom: float,
) -> list[Blobs]:
    """Discs and rings of every diameter of the range, and ellipses from the smallest to the largest axis.

    A ring's inner diameter is half its outer one.
    """
    edge = _EDGE_PER_LOWPASS * lowpass_angstrom
    found = []
    sizes = diameters(smallest_angstrom, largest_angstrom)
    for diameter in sizes:
        last = diameter == sizes[-1]
        x, y, support = _grid(diameter, pixel_size_angstrom)
        images, kinds, angles = [], [], []
        round_blob = _soft(torch.hypot(x, y), 0.5 * diameter, edge)
        if "circular" in shapes:
            images, kinds, angles = [round_blob], [1], [0.0]
        if "ring" in shapes:
            hole = _soft(torch.hypot(x, y), 0.5 * _INNER_OF_RING * diameter, edge)
            images, kinds, angles = [*images, round_blob - hole], [*kinds, 3], [*angles, 0.0]
        if "elliptical" in shapes and last:
            turns = _ellipse_angles(smallest_angstrom, largest_angstrom)
            images += [_ellipse(x, y, 0.5 * diameter, 0.5 * smallest_angstrom, turn, edge) for turn in turns]
            kinds, angles = [*kinds, *([2] * len(turns))], [*angles, *turns]
        if images:
            templates = normalised(torch.stack(images), support)
            found.append(Blobs(support, templates, kinds, diameter, angles))
    return found


def _grid(diameter: float, pixel: float) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates in Angstrom from the origin pixel, and the support."""
    reach = math.ceil(0.5 * SUPPORT_PER_DIAMETER * diameter / pixel) + 1
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32) * pixel
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y, (torch.hypot(x, y) <= 0.5 * SUPPORT_PER_DIAMETER * diameter).float()


def _soft(radius: Tensor, edge_at: float, width: float) -> Tensor:
    return torch.sigmoid((edge_at - radius) / width)


def _ellipse_angles(smallest: float, largest: float) -> list[float]:
    if largest / smallest < _DIAMETER_STEP:
        return [0.0]
    return [_ELLIPSE_STEP_DEG * i for i in range(round(180.0 / _ELLIPSE_STEP_DEG))]


def _ellipse(x: Tensor, y: Tensor, long: float, short: float, angle_deg: float, edge: float) -> Tensor:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    scaled = torch.hypot((c * x + s * y) / long, (c * y - s * x) / short)
    return _soft(scaled, 1.0, edge / math.sqrt(long * short))
