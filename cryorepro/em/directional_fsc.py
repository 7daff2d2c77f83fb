"""Fourier shell correlation along directions: one curve for each cone, and how much they differ.

A cone holds the coefficients within ``half_angle_degrees`` of a direction or of its opposite (Tan et al., Nature
Methods 14 (2017) 793, use 20 degrees).  The conical FSC area ratio is the smallest area under the curve of a cone
over the largest: 1 for the same resolution everywhere, near 0 where a direction was never seen.  The area counts
shells from 1 to the last before the curve of all coefficients falls below 0.143: beyond it a cone holds noise, and
where a cone ends by its own noisy curve would decide the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import Curve, crossing, fsc_curve
from cryorepro.em.lowpass import Map, check_cubic, fourier_radius

Directions = npt.NDArray[np.float64]
_FEWEST_COEFFICIENTS = 6
_THRESHOLD = 0.143


@dataclass(frozen=True)
class DirectionalFsc:
    """``curves [d, n // 2 + 1]`` of the cones about ``directions [d, 3]`` (x, y, z); ``resolved_shell`` of all
    coefficients together."""

    directions: Directions
    curves: npt.NDArray[np.float64]
    half_angle_degrees: float
    resolved_shell: int

    @property
    def shells(self) -> npt.NDArray[np.int64]:
        """Last shell of each cone before its curve falls below 0.143, ``[d]``."""
        return np.array([crossing(curve, _THRESHOLD).shell for curve in self.curves], dtype=np.int64)

    @property
    def areas(self) -> Curve:
        """Area under each curve from shell 1 to ``resolved_shell``, in shells, ``[d]``; below zero counts as zero."""
        return np.asarray(np.maximum(self.curves[:, 1 : self.resolved_shell + 1], 0.0).sum(axis=1))

    @property
    def area_ratio(self) -> float:
        """Smallest over largest area (cFAR); 0 when no cone shows any correlation."""
        areas = self.areas
        return float(areas.min() / areas.max()) if self.resolved_shell > 0 and areas.max() > 0 else 0.0


def hemisphere(count: int) -> Directions:
    """``count`` unit vectors ``[count, 3]`` spread evenly over half a sphere (Fibonacci lattice), z >= 0."""
    index = np.arange(count) + 0.5
    z = 1.0 - index / count
    azimuth = np.pi * (1.0 + np.sqrt(5.0)) * index
    radius = np.sqrt(1.0 - z**2)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=1)


def directional_fsc(first: Map, second: Map, count: int = 128, half_angle_degrees: float = 20.0) -> DirectionalFsc:
    """Measure the FSC of two maps ``[n, n, n]`` in ``count`` cones.

    A shell with fewer than 6 coefficients in a cone takes the value of the whole shell.

    Raises:
        InputError: the maps are not finite cubes of one size, or the angle or count makes no cone.
    """
    if not 1.0 <= half_angle_degrees < 90.0 or not 1 <= count <= 10_000:
        raise InputError(f"directional FSC: {count} cones of {half_angle_degrees} degrees cannot be measured")
    whole = fsc_curve(first, second)
    box = check_cubic(first)
    shells, unit, cross, powers = _coefficients(first, second)
    directions, limit = hemisphere(count), np.cos(np.radians(half_angle_degrees))
    curves = np.empty((count, box // 2 + 1))
    for row, direction in enumerate(directions):
        inside = np.abs(unit @ direction) >= limit
        length = box // 2 + 1
        number = np.bincount(shells[inside], minlength=length)
        sums = [np.bincount(shells[inside], values[inside], length) for values in (cross, *powers)]
        power = np.sqrt(sums[1] * sums[2])
        usable = (number >= _FEWEST_COEFFICIENTS) & (power > 0)
        curves[row] = np.divide(sums[0], power, out=whole.copy(), where=usable)
    return DirectionalFsc(directions, curves, half_angle_degrees, crossing(whole, _THRESHOLD).shell)


def _coefficients(first: Map, second: Map) -> tuple[npt.NDArray[np.int64], Directions, Curve, tuple[Curve, Curve]]:
    """Shell, unit vector (x, y, z), cross term and powers of every coefficient in shells 1 to n // 2."""
    box = first.shape[0]
    radius = fourier_radius(box)
    shell = np.rint(radius).astype(np.int64)
    inside = (shell >= 1) & (shell <= box // 2)
    a, b = (fft.rfftn(np.asarray(volume, dtype=np.float64))[inside] for volume in (first, second))
    full, half = np.fft.fftfreq(box, 1.0 / box), np.arange(box // 2 + 1, dtype=np.float64)
    axes = np.broadcast_arrays(half[None, None, :], full[None, :, None], full[:, None, None])
    unit = np.stack([axis[inside] for axis in axes], axis=1) / radius[inside][:, None]
    return shell[inside], unit, (a * b.conj()).real, (np.abs(a) ** 2, np.abs(b) ** 2)
