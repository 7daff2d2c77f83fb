"""Motion trajectories held against each other: only differences between frames mean anything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError

Track = npt.NDArray[np.float64]


def rms_distance(first: Track, second: Track) -> float:
    """Root mean square distance of two trajectories ``[frames, d]`` after the best common shift, in their unit.

    Where a trajectory starts is a choice of the program (first frame, middle frame, mean); a constant between the
    two is taken out, as least squares would.

    Raises:
        InputError: the trajectories have different shapes, no frame, or positions that are not finite.
    """
    first, second = (np.asarray(track, dtype=np.float64) for track in (first, second))
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise InputError(f"trajectories of shape {first.shape} and {second.shape} cannot be compared")
    difference = first - second
    if not np.isfinite(difference).all():
        raise InputError("trajectories: a position is not finite")
    difference = difference - difference.mean(axis=0)
    return float(np.sqrt((difference**2).sum(axis=1).mean()))


def path_length(track: Track) -> float:
    """Sum of the steps between successive frames ``[frames, d]``, in the trajectory's unit."""
    return float(np.linalg.norm(np.diff(np.asarray(track, dtype=np.float64), axis=0), axis=1).sum())
