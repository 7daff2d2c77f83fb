"""Whether a class average shows something in its middle.

A 2D classification gives empty places, and places between two particles, classes of their own. Their averages are
as well resolved as those of particles, and dark where a particle would be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIDDLE_SHARE = 0.25  # of the box: radius of the middle


def central_densities(averages: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much brighter the middle of every average is than the rest of its circle.

    Args:
        averages: ``[k, n, n]``, particles bright.

    Returns:
        ``[k]``: the mean within a quarter of the box's width from its centre less the mean from there to the box's
        edge, over the standard deviation within the box's circle; 0 for a flat image.
    """
    side = averages.shape[-1]
    y, x = np.indices((side, side)) - side // 2
    radius = np.hypot(x, y)
    middle, outside = radius <= _MIDDLE_SHARE * side, (radius > _MIDDLE_SHARE * side) & (radius <= 0.5 * side)
    images = averages.astype(np.float64)
    spread = images[:, middle | outside].std(axis=1)
    difference = images[:, middle].mean(axis=1) - images[:, outside].mean(axis=1)
    return np.asarray(np.where(spread > 0, difference / np.where(spread > 0, spread, 1.0), 0.0))
