"""Pixels that are not to be believed: defect lists, defect masks, hot pixels, and what takes their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.movies.movie import Pixels
from cryorepro.em.movies.opening import TIFF_MAGICS, first_bytes
from cryorepro.em.movies.pictures import read_picture

Mask = NDArray[np.bool_]
PICTURES = (".mrc", ".mrcs", ".tif", ".tiff", ".gain", ".dm4", ".dm3")
_MAX_LIST_BYTES = 16 * 1024**2
_HOT_DEVIATIONS = 6.0
_SAMPLE_PIXELS = 1_000_000
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution


def read_defects(path: Path | str, shape: tuple[int, int], *, turn_tiff: bool = False) -> Mask:
    """Bad pixels of frames of ``shape``, from a list of rectangles or a picture that is not 0 where they are bad.

    A list has one rectangle per line, ``x y width height`` in pixels from the first column and row, as RELION and
    MotionCor2 read it; ``#`` begins a comment.

    Args:
        path: The file.
        shape: (rows, columns) of the frames.
        turn_tiff: Turn a TIFF picture upside down, as RELION does with all TIFF; for frames that were turned, too.

    Raises:
        InputError: a line is not such a rectangle or leaves the frame, or the picture is of another shape.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        return _read_rectangles(path, shape)
    picture = read_picture(path, "defect mask")
    if picture.shape != shape:
        raise InputError(f"{path}: the defect mask has shape {picture.shape}, but the movie's frames have {shape}.")
    mask = np.asarray(picture != 0)
    return mask[::-1] if turn_tiff and first_bytes(path, 4) in TIFF_MAGICS else mask


def _read_rectangles(path: Path, shape: tuple[int, int]) -> Mask:
    try:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise InputError(f"{path}: larger than a list of defects may be ({_MAX_LIST_BYTES} bytes).")
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise InputError(f"{path}: the list of defects cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a list of defects (byte {error.start} is not ASCII text).") from error
    mask = np.zeros(shape, dtype=np.bool_)
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split("#")[0].split()
        if fields:
            x, y, width, height = _rectangle(path, number, fields, shape)
            mask[y : y + height, x : x + width] = True
    return mask


def _rectangle(path: Path, number: int, fields: list[str], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    if len(fields) != 4 or not all(field.isdigit() and len(field) <= 9 for field in fields):
        raise InputError(f"{path}: line {number} is not a rectangle 'x y width height' of whole pixels.")
    x, y, width, height = (int(field) for field in fields)
    if width < 1 or height < 1 or x + width > shape[1] or y + height > shape[0]:
        raise InputError(f"{path}: line {number}: the rectangle leaves the frame of {shape[1]} x {shape[0]} pixels.")
    return x, y, width, height


def find_hot_pixels(
    frames: Pixels, gain: NDArray[np.float32] | None = None, deviations: float = _HOT_DEVIATIONS
) -> Mask:
    """Pixels whose sum over all frames is far above what the picture and its noise explain.

    Counts of mean m exceed m + z^2/6 + sqrt((z^2/6)^2 + z^2 m) no more often than a normal variable exceeds z
    deviations (Bernstein's inequality); m is the median, and the variance is a robust one where that is larger.

    Args:
        frames: ``[frames, rows, columns]``, or their sum ``[rows, columns]``.
        gain: Multiplies the sum first, where it is given.
        deviations: z, in standard deviations.
    """
    total = frames.sum(axis=0, dtype=np.float32) if frames.ndim == 3 else frames.astype(np.float32)
    if gain is not None:
        total *= gain
    sample = total.ravel()[:: max(1, total.size // _SAMPLE_PIXELS)]
    middle = float(np.median(sample))
    spread = float(np.median(np.abs(sample - middle))) * _MAD_TO_DEVIATION
    tail = deviations**2 / 6.0
    margin = tail + (tail**2 + deviations**2 * max(middle, spread**2)) ** 0.5
    return np.asarray(total > middle + margin)
