"""How evenly a set of views fills Fourier space.

A view along ``d`` fills the plane through the origin perpendicular to ``d``.  The sampling at a direction ``u`` is
the number of views whose plane passes within a small angle of ``u``, over what even views would give.  The sampling
compensation factor is the harmonic mean of the sampling over all directions (Baldwin & Lyumkis, Progress in
Biophysics and Molecular Biology 150 (2020) 160): 1 for even views, 8 / pi^2 for side views evenly about one axis,
0 where some direction has no view at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryorepro.em.directional_fsc import Directions, hemisphere
from cryorepro.em.errors import InputError
from cryorepro.em.symmetry import Matrices

_CHUNK = 4096


@dataclass(frozen=True)
class Sampling:
    """Sampling ``[u]`` at ``directions [u, 3]``, 1 on average."""

    directions: Directions
    relative: npt.NDArray[np.float64]

    @property
    def compensation_factor(self) -> float:
        """Harmonic mean of the sampling; 0 when a direction was never sampled."""
        if self.unsampled_fraction > 0:
            return 0.0
        return float(1.0 / np.mean(1.0 / self.relative))

    @property
    def unsampled_fraction(self) -> float:
        """Fraction of directions without any view."""
        return float(np.mean(self.relative == 0))


def view_sampling(
    matrices: Matrices, operators: Matrices, directions: int = 1000, band_degrees: float = 3.0
) -> Sampling:
    """Sampling of Fourier space by views.

    Args:
        matrices: orientations ``[n, 3, 3]`` (reference to image); the third row is the view direction.
        operators: rotations of the point group ``[s, 3, 3]``: every view counts at all its equivalents.
        directions: points on the half sphere where the sampling is measured.
        band_degrees: half width of a view's plane as seen from the origin.

    Raises:
        InputError: there is no view, or the band is no angle between 0 and 90 degrees.
    """
    if len(matrices) == 0 or not 0.0 < band_degrees < 90.0:
        raise InputError(f"sampling: {len(matrices)} views and a band of {band_degrees} degrees give none")
    views = np.einsum("nj,sjk->nsk", matrices[:, 2, :], operators).reshape(-1, 3)
    points = hemisphere(directions)
    width = np.sin(np.radians(band_degrees))
    counts = np.zeros(directions)
    for start in range(0, len(views), _CHUNK):
        counts += (np.abs(points @ views[start : start + _CHUNK].T) < width).sum(axis=1)
    return Sampling(points, counts / (len(views) * width))
