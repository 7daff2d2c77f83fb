"""Exposure before and after every frame, for dose weighting, from what was really recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError


def frame_exposures(
    total_exposure_e_per_a2: float, hardware_frames: Sequence[int], stored_frames: int | None = None
) -> NDArray[np.float64]:
    """Exposure of every frame in electrons per square Angstrom.

    Args:
        total_exposure_e_per_a2: Of a whole movie, as it was planned.
        hardware_frames: Detector frames summed to each frame (``Movie.hardware_frames``); 1 each for TIFF and MRC.
        stored_frames: Detector frames of a whole movie; those present by default. Where fewer are present, the
            exposure is theirs alone.

    Raises:
        InputError: an exposure that is not positive, no frames, or more frames than a whole movie has.
    """
    shares = np.asarray(hardware_frames, dtype=np.float64)
    whole = float(shares.sum()) if stored_frames is None else float(stored_frames)
    if not (np.isfinite(total_exposure_e_per_a2) and total_exposure_e_per_a2 > 0):
        raise InputError(f"total_exposure_e_per_a2 must be positive, not {total_exposure_e_per_a2}.")
    if not len(shares) or shares.min() < 1 or shares.sum() > whole:
        raise InputError(f"{shares.sum():.0f} frames are present, but a whole movie has {whole:.0f}.")
    return total_exposure_e_per_a2 * shares / whole


def accumulated_exposures(exposures: NDArray[np.float64], pre_exposure_e_per_a2: float = 0.0) -> NDArray[np.float64]:
    """Exposure at the end of every frame, in electrons per square Angstrom, as Grant & Grigorieff (2015) weight by.

    eLife 4 (2015) e06980, doi:10.7554/eLife.06980.
    """
    return pre_exposure_e_per_a2 + np.cumsum(exposures)
