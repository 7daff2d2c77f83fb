"""How radiation damage dims a structure: amplitudes over exposure and resolution, and how frames sum up.

Grant & Grigorieff, eLife 4 (2015) e06980, doi:10.7554/eLife.06980: equation 3 gives the critical exposure at 300 kV,
which at 200 kV is 0.8 of that; an amplitude decays as exp(-exposure / (2 critical exposure)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_AT_200_KV = 0.8


def critical_exposure(frequency: Floats, voltage_kv: float) -> Floats:
    """Critical exposure in e/A^2 at spatial frequencies in 1/A; infinite at the origin."""
    safe = np.where(frequency > 0.0, frequency, 1.0)
    at_300 = 0.24499 * safe**-1.6649 + 2.8141
    factor = _AT_200_KV if voltage_kv < 250.0 else 1.0
    return np.where(frequency > 0.0, factor * at_300, np.inf)


def attenuation(frequency: Floats, exposure: float, voltage_kv: float) -> Floats:
    """Factor on the amplitudes after ``exposure`` e/A^2, of the frequencies' shape."""
    factor: Floats = np.exp(-0.5 * exposure / critical_exposure(frequency, voltage_kv))
    return factor


def frame_exposures(total: float, frames: int) -> Floats:
    """Exposure in e/A^2 that the specimen has had in the middle of each of ``frames`` equal frames."""
    middles: Floats = (np.arange(frames, dtype=np.float64) + 0.5) * (total / frames)
    return middles
