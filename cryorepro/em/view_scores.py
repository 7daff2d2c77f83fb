"""What comparing class averages with named views gives; apart, so that reading a selection needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Similarity:
    """For each of k averages: ``values [k]`` float64 in -1 to 1, and ``views [k]`` the number from 1 of its view."""

    values: NDArray[np.float64]
    views: NDArray[np.int64]
