"""Gain references: read, turned to the orientation of the movies, checked against their shape.

A gain reference multiplies the raw counts of each pixel. A pixel whose gain is 0 is a defect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.movies.pictures import read_picture

Flip = Literal["none", "x", "y"]
FLIPS: tuple[Flip, ...] = ("none", "x", "y")
Floats = NDArray[np.float32]
_UPSAMPLINGS = (1, 2, 4)


def read_gain(
    path: Path | str, *, flip: Flip = "none", rotation_quarter_turns: int = 0, reciprocal: bool = False
) -> Floats:
    """Read a gain reference from MRC, TIFF, DM3 or DM4 as ``[rows, columns]``, ready to multiply frames.

    Args:
        path: The file; more than one section or picture is refused.
        flip: After the rotation: ``x`` mirrors left and right, ``y`` turns upside down (RELION's 2 and 1).
        rotation_quarter_turns: Clockwise quarter turns with row 0 on top (RELION's ``--gain_rot``).
        reciprocal: The file holds the sum of a flat exposure, which divides: its mean over the pixel is what
            multiplies, and pixels of 0 stay 0. For EER movies RELION takes MRC and TIFF files so, and multiplies by
            ``.gain`` files.

    Raises:
        InputError: not such a file, a value that is NaN, infinite or negative, all pixels 0, or an unknown flip.
    """
    path = Path(path)
    if flip not in FLIPS:
        raise InputError(f"{path}: gain flip {flip!r} is not one of {', '.join(FLIPS)}.")
    gain = read_picture(path, "gain reference").astype(np.float32)
    if not np.isfinite(gain).all():
        raise InputError(f"{path}: the gain reference has NaN or infinite pixels.")
    if float(gain.min()) < 0 or float(gain.max()) <= 0:
        raise InputError(f"{path}: the gain reference has negative pixels or is zero everywhere.")
    if reciprocal:
        mean = float(gain[gain > 0].mean(dtype=np.float64))
        gain = np.divide(mean, gain, out=np.zeros_like(gain), where=gain > 0)
    return orient(gain, flip, rotation_quarter_turns)


def orient(picture: NDArray[np.float32], flip: Flip, rotation_quarter_turns: int) -> Floats:
    """Turn clockwise by quarter turns, then mirror."""
    turned = np.rot90(picture, k=-rotation_quarter_turns)
    mirrored = {"none": turned, "x": turned[:, ::-1], "y": turned[::-1]}[flip]
    return np.ascontiguousarray(mirrored)


def fit_gain(gain: Floats, shape: tuple[int, int], source: Path | str = "gain reference") -> Floats:
    """A gain reference for frames of ``shape``: as it is, or repeated 2 or 4 times for super-resolution EER frames.

    Raises:
        InputError: the shapes do not match.
    """
    for factor in _UPSAMPLINGS:
        if shape == (gain.shape[0] * factor, gain.shape[1] * factor):
            return gain if factor == 1 else np.repeat(np.repeat(gain, factor, axis=0), factor, axis=1)
    turned = " (a quarter turn would make it fit)" if shape == gain.shape[::-1] else ""
    raise InputError(
        f"{source}: the gain reference has {gain.shape[0]} x {gain.shape[1]} pixels, "
        f"but the movie's frames have {shape[0]} x {shape[1]}{turned}."
    )
