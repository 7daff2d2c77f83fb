"""Raw counts to corrected frames: times the gain, with bad pixels replaced by values of good ones near them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.movies.defects import Mask
from cryorepro.em.movies.movie import Pixels

_CANDIDATES = 8
_DRAWS = 32
_FIRST_RADIUS_PX = 2


def correct_frames(
    frames: Pixels, gain: NDArray[np.float32] | None = None, defects: Mask | None = None, *, seed: int = 0
) -> NDArray[np.float32]:
    """Frames ``[frames, rows, columns]`` as float32, times ``gain``, bad pixels replaced.

    A bad pixel takes, in every frame anew, the value of a random good pixel near it, which leaves the statistics of
    the counts as they are (a mean of neighbours would be too smooth). Pixels whose gain is 0 are bad.

    Raises:
        InputError: gain or defects are not of the frames' shape, a frame has NaN, or no pixel is good.
    """
    shape = frames.shape[1:]
    for what, picture in (("gain reference", gain), ("defects", defects)):
        if picture is not None and picture.shape != shape:
            raise InputError(f"The {what} has shape {picture.shape}, but the frames have {shape}.")
    corrected = frames.astype(np.float32)
    if gain is not None:
        corrected *= gain
    bad = np.zeros(shape, dtype=np.bool_) if defects is None else defects
    if gain is not None:
        bad = bad | (gain == 0)
    if bad.any():
        _replace(corrected, bad, np.random.default_rng(seed))
    if frames.dtype.kind == "f" and not np.isfinite(corrected.sum(dtype=np.float64)):
        raise InputError("The frames have NaN or infinite pixels.")
    return corrected


def _replace(frames: NDArray[np.float32], bad: Mask, random: np.random.Generator) -> None:
    where = np.flatnonzero(bad)
    sources = good_neighbours(bad, where, random)
    rows = np.arange(len(where))
    for frame in frames.reshape(len(frames), -1):
        frame[where] = frame[sources[rows, random.integers(0, _CANDIDATES, len(where))]]


def good_neighbours(bad: Mask, where: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.intp]:
    """For every pixel of ``where`` (flat indices), indices ``[n, 8]`` of good pixels as near as there are some.

    Raises:
        InputError: every pixel is bad.
    """
    if bad.all():
        raise InputError("Every pixel of the frames is a defect.")
    rows, columns = bad.shape
    sources = np.empty((len(where), _CANDIDATES), dtype=np.intp)
    pending, radius = np.arange(len(where)), _FIRST_RADIUS_PX
    while len(pending):
        offsets = random.integers(-radius, radius + 1, (2, len(pending), _DRAWS))
        y = where[pending, None] // columns + offsets[0]
        x = where[pending, None] % columns + offsets[1]
        good = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
        flat = np.where(good, y * columns + x, 0)
        good &= ~bad.ravel()[flat]
        found = np.count_nonzero(good, axis=1)
        # The drawn good ones first, in the order drawn; repeated in turn where there are fewer than wanted.
        first = np.argsort(~good, axis=1, kind="stable")
        turn = np.arange(_CANDIDATES) % np.maximum(found, 1)[:, None]
        chosen = np.take_along_axis(flat, np.take_along_axis(first, turn, axis=1), axis=1)
        done = found > 0
        sources[pending[done]] = chosen[done]
        pending, radius = pending[~done], min(2 * radius, max(rows, columns))
    return sources
