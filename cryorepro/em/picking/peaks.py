"""Peaks of a map of coefficients: local maxima, the better of two that are too near, places between pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]


def find_peaks(
    coefficients: NDArray[np.floating],
    allowed: NDArray[np.bool_],
    *,
    lowest: float,
    least_distance_px: float,
    most: int | None = None,
) -> tuple[NDArray[np.int64], Floats]:
    """Peaks of ``coefficients [rows, columns]`` where ``allowed``, highest first.

    Of two peaks nearer than ``least_distance_px`` the higher stays; among equals the one further up, then left.

    Returns:
        Pixels ``[m, 2]`` (x, y), and the same places ``[m, 2]`` between pixels by a parabola along each axis.
    """
    values = np.asarray(coefficients, dtype=np.float64)
    is_peak = (values == maximum_filter(values, size=3, mode="nearest")) & allowed & (values >= lowest)
    y, x = np.nonzero(is_peak)
    order = np.argsort(-values[y, x], kind="stable")
    at = np.stack([x[order], y[order]], axis=1).astype(np.int64)
    kept = _apart(at.astype(np.float64), least_distance_px)[:most]
    at = at[kept]
    between = np.stack([_between(values, at, 1), _between(values, at, 0)], axis=1)
    return at, at.astype(np.float64) + between


def _apart(at: Floats, distance: float) -> NDArray[np.int64]:
    """Rows that stay when, from the first on, each one drives away those after it that are nearer than ``distance``."""
    if len(at) == 0:
        return np.empty(0, dtype=np.int64)
    gone = np.zeros(len(at), dtype=bool)
    for row, other in sorted(cKDTree(at).query_pairs(distance * (1.0 - 1e-12))):
        if not gone[row]:
            gone[other] = True
    return np.flatnonzero(~gone)


def _between(values: Floats, at: NDArray[np.int64], axis: int) -> Floats:
    """Offset in (-1/2, 1/2) of the parabola through a peak and its two neighbours along ``axis``; 0 at the edge."""
    x, y = at[:, 0], at[:, 1]
    place, size = (x, values.shape[1]) if axis == 1 else (y, values.shape[0])
    inside = (place > 0) & (place < size - 1)
    low, high = np.clip(place - 1, 0, size - 1), np.clip(place + 1, 0, size - 1)
    before, after = (values[y, low], values[y, high]) if axis == 1 else (values[low, x], values[high, x])
    bend = 2.0 * values[y, x] - before - after
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = 0.5 * (after - before) / bend
    return np.where(inside & (bend > 0), np.clip(moved, -0.5, 0.5), 0.0)
