"""Where particles lie in a micrograph: dense, overlapping to a degree, and not on the dirt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError

Floats = NDArray[np.float64]
_TRIALS_PER_PARTICLE = 400


@dataclass(frozen=True)
class Dirt:
    """Ice crystals and other dirt on one micrograph: centres [m, 2] (x, y) and radii [m] in pixels."""

    centres_px: Floats
    radii_px: Floats


def place_dirt(
    stream: np.random.Generator, shape: tuple[int, int], expected: float, radii_px: tuple[float, float]
) -> Dirt:
    """Dirt anywhere on a micrograph of ``shape`` (rows, columns), ``expected`` pieces on average."""
    count = int(stream.poisson(expected))
    centres = stream.random((count, 2)) * (shape[1], shape[0])
    return Dirt(np.round(centres, 2), np.round(stream.uniform(*radii_px, count), 2))


def place_particles(
    stream: np.random.Generator, shape: tuple[int, int], count: int, distance_px: float, dirt: Dirt
) -> Floats:
    """Centres [count, 2] (x, y) in pixels, no two nearer than ``distance_px``, none under dirt.

    Raises:
        InputError: so many do not fit.
    """
    found = np.empty((0, 2))
    for _ in range(_TRIALS_PER_PARTICLE * count):
        if len(found) == count:
            break
        point = np.round(stream.random(2) * (shape[1], shape[0]), 2)
        clear = np.linalg.norm(dirt.centres_px - point, axis=1) > dirt.radii_px + 0.5 * distance_px
        if clear.all() and (np.linalg.norm(found - point, axis=1) >= distance_px).all():
            found = np.concatenate([found, point[None]])
    if len(found) < count:
        raise InputError(f"movie twin: {count} particles at least {distance_px:.0f} px apart do not fit in {shape}")
    return found
