"""Write movies as TIFF and MRC: what twins are made of, and what the readers are tested on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import mrcfile
import numpy as np
import tifffile
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.movies.movie import Pixels, check_claim
from cryorepro.em.movies.mrc_movie import PACKED_MODE

Compression = Literal["none", "lzw", "deflate"]
_TIFF_TYPES = ("uint8", "int8", "uint16", "int16", "float32")
_MRC_TYPES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16, PACKED_MODE: np.uint8}
_CODES = {"none": None, "lzw": "lzw", "deflate": "adobe_deflate"}
_ROWS_PER_STRIP = 256


def write_movie_tiff(path: Path, frames: Pixels, compression: Compression = "lzw") -> None:
    """Write frames ``[frames, rows, columns]`` of 8 or 16-bit integers or float32, one TIFF picture each.

    Raises:
        InputError: another shape or element type.
    """
    _check_frames(path, frames)
    if frames.dtype.name not in _TIFF_TYPES:
        raise InputError(f"{path}: frames of {frames.dtype} are not written as TIFF ({', '.join(_TIFF_TYPES)} are).")
    with _replacing(path) as temporary, tifffile.TiffWriter(temporary) as writer:
        for frame in frames:
            writer.write(
                frame,
                photometric="minisblack",
                compression=_CODES[compression],
                rowsperstrip=min(_ROWS_PER_STRIP, frame.shape[0]),
                contiguous=False,
                metadata=None,
                software=False,
            )


def write_movie_mrc(path: Path, frames: Pixels, mode: int, pixel_size_angstrom: float = 1.0) -> None:
    """Write frames ``[frames, rows, columns]`` as an MRC stack of mode 0, 1, 2, 6, 12 or 101 (counts from 0 to 15).

    Raises:
        InputError: another mode, or values that the mode cannot hold.
    """
    _check_frames(path, frames)
    if mode not in _MRC_TYPES:
        raise InputError(f"{path}: MRC mode {mode} is not written ({', '.join(map(str, _MRC_TYPES))} are).")
    limit = 15 if mode == PACKED_MODE else None
    converted = _converted(path, frames, np.dtype(_MRC_TYPES[mode]), limit)
    stored = pack_nibbles(converted).view(np.int8) if mode == PACKED_MODE else converted
    with _replacing(path) as temporary, mrcfile.new(temporary, data=stored, overwrite=True) as file:
        file.set_image_stack()
        file.voxel_size = pixel_size_angstrom
        if mode == PACKED_MODE:  # a mode of IMOD's that mrcfile does not know
            file.header.mode, file.header.nx, file.header.mx = PACKED_MODE, frames.shape[2], frames.shape[2]
            file.header.cella.x = frames.shape[2] * pixel_size_angstrom


def pack_nibbles(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two counts per byte, the first in the low bits; rows of odd length end in half a byte of zero."""
    columns = frames.shape[2]
    packed = frames[:, :, 0::2].copy()
    packed[:, :, : columns // 2] |= frames[:, :, 1::2] << 4
    return packed


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` that takes its place when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_frames(path: Path, frames: Pixels) -> None:
    if frames.ndim != 3:
        raise InputError(f"{path}: a movie is frames of rows and columns, not an array of shape {frames.shape}.")
    check_claim(path, frames.shape[0], frames.shape[1:])


def _converted(path: Path, frames: Pixels, dtype: np.dtype[np.generic], limit: int | None) -> Pixels:
    converted = frames.astype(dtype)
    exact = dtype.kind == "f" or np.array_equal(converted.astype(np.float64), frames.astype(np.float64))
    if not exact or (limit is not None and int(converted.max()) > limit):
        raise InputError(
            f"{path}: the frames have values that {dtype}{f' up to {limit}' if limit else ''} cannot hold."
        )
    return converted
