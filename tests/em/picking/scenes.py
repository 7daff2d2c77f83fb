"""Micrographs drawn in numpy with particles whose places, shapes and angles are known; particles are dark."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PIXEL = 2.0
DIAMETER = 120.0


def places(rng: np.random.Generator, count: int, size: tuple[int, int], apart: float, margin: float) -> Floats:
    """Random places ``[count, 2]`` (x, y) at least ``apart`` pixels from each other and ``margin`` from the border."""
    found: list[Floats] = []
    while len(found) < count:
        place = rng.uniform(margin, np.array([size[1], size[0]]) - 1 - margin)
        if all(np.hypot(*(place - other)) >= apart for other in found):
            found.append(place)
    return np.array(found)


def soft(radius: Floats, edge_at: float, width: float = 3.0) -> Floats:
    return np.asarray(0.5 - 0.5 * np.tanh((radius - edge_at) / width))


def scene(
    rng: np.random.Generator,
    at: Floats,
    size: tuple[int, int] = (768, 900),
    *,
    long: float = DIAMETER / PIXEL,
    short: float | None = None,
    angles_deg: Floats | None = None,
    hole: float = 0.0,
    contrast: float = 1.0,
    noise: float = 1.5,
) -> Floats:
    """Discs, ellipses (axes in pixels, angle from x towards y) or rings at ``at [n, 2]`` in white noise."""
    y, x = np.indices(size, dtype=np.float64)
    image = noise * rng.standard_normal(size)
    turns = np.zeros(len(at)) if angles_deg is None else np.radians(angles_deg)
    for (px, py), turn in zip(at, turns, strict=True):
        u = (x - px) * np.cos(turn) + (y - py) * np.sin(turn)
        v = -(x - px) * np.sin(turn) + (y - py) * np.cos(turn)
        r = np.hypot(u, v * (long / (short or long)))
        image -= contrast * (soft(r, 0.5 * long) - (soft(r, 0.5 * hole) if hole else 0.0))
    return 100.0 + 10.0 * image


def found_of(at: Floats, picked: Floats, within: float) -> tuple[float, float, Floats]:
    """Recall, precision and distances of picks by the nearest neighbour each way."""
    apart = np.hypot(*(at[:, None] - picked[None]).transpose(2, 0, 1))
    nearest = apart.min(axis=1)
    return float((nearest < within).mean()), float((apart.min(axis=0) < within).mean()), nearest[nearest < within]
