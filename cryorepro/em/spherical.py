"""The spherical average of a map, and what is left without it.

A particle that is round at low resolution correlates with any other round particle, whatever its orientation: only
what departs from the spherical average can tell right poses from random ones.
"""

from __future__ import annotations

import numpy as np

from cryorepro.em.fsc import Curve
from cryorepro.em.lowpass import Map, Volume, check_cubic


def radial_profile(volume: Map) -> Curve:
    """Mean density of the voxels whose distance from voxel ``n // 2`` rounds to 0, 1, 2 … pixels."""
    check_cubic(volume)
    index = np.rint(_radius(volume.shape[0])).astype(np.int64).ravel()
    sums = np.bincount(index, weights=np.asarray(volume, dtype=np.float64).ravel())
    return np.asarray(sums / np.bincount(index))


def spherical_average(volume: Map) -> Volume:
    """The map ``[n, n, n]`` that depends on radius only, interpolated between the radii of the profile."""
    profile = radial_profile(volume)
    return np.asarray(np.interp(_radius(volume.shape[0]), np.arange(len(profile)), profile))


def without_spherical_average(volume: Map) -> Volume:
    """The map less its spherical average about voxel ``n // 2``, ``[n, n, n]`` float64."""
    return np.asarray(volume, dtype=np.float64) - spherical_average(volume)


def _radius(box: int) -> Volume:
    squared = (np.arange(box, dtype=np.float64) - box // 2) ** 2
    return np.asarray(np.sqrt(squared[:, None, None] + squared[None, :, None] + squared[None, None, :]))
