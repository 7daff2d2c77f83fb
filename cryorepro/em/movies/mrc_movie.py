"""MRC movies, memory-mapped: modes 0, 1, 2, 6 and 12, and 101, two 4-bit counts in a byte.

Mode 101 is IMOD's (https://bio3d.colorado.edu/imod/doc/mrc_format.txt): the first pixel is in the low four bits, and
every row begins on a byte.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.formats.mrc import HEADER_BYTES, MAX_SECTIONS, MrcHeader, parse_mrc_header
from cryorepro.em.movies.movie import Movie, Pixels, check_claim

PACKED_MODE = 101
_IMOD_STAMP, _IMOD_PACKED = 1146047817, 16


class MrcMovie(Movie):
    """A movie whose frames are the sections of an MRC file."""

    kind = "mrc"

    def __init__(self, path: Path) -> None:
        """Check header and file size; map nothing that is not there.

        Raises:
            InputError: not MRC, of another mode, truncated, or of a size that no movie has.
        """
        header, columns = _read_header(path)
        if header.axis_order != (1, 2, 3):
            raise InputError(
                f"{path}: the axes of a movie's MRC file must be x, y and frames, not {header.axis_order}."
            )
        frames, rows, stored = header.shape
        self._packed = columns != stored
        self._columns = columns
        dtype = np.dtype(np.uint8) if self._packed else header.dtype
        super().__init__(path, frames, (rows, columns), dtype)
        self._map = np.memmap(path, dtype=header.dtype, mode="r", offset=header.data_offset, shape=header.shape)

    def _read_into(self, index: int, out: Pixels) -> None:
        stored = self._map[index]
        if not self._packed:
            out[...] = stored
            return
        np.bitwise_and(stored, 15, out=out[:, 0::2])
        np.right_shift(stored[:, : self._columns // 2], 4, out=out[:, 1::2])

    def close(self) -> None:
        """Let go of the mapping."""
        del self._map


def looks_like_mrc(raw: bytes) -> bool:
    """Whether the first bytes of a file can be an MRC header, of whatever mode."""
    if len(raw) < HEADER_BYTES:
        return False
    return any(
        min(sizes) > 0 and max(sizes) <= MAX_SECTIONS and 0 <= mode <= PACKED_MODE
        for *sizes, mode in (struct.unpack(f"{order}4i", raw[:16]) for order in "<>")
    )


def _read_header(path: Path) -> tuple[MrcHeader, int]:
    """The header of the stored elements, and the number of columns they unpack to."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            raw = stream.read(HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: the MRC file cannot be read ({error.strerror}).") from error
    order = _packed_order(raw)
    if order is None:
        header = parse_mrc_header(path, raw, size)
        _refuse_disguised(path, raw, header)
        return header, header.shape[2]
    columns, rows, frames, _ = struct.unpack(f"{order}4i", raw[:16])
    check_claim(path, frames, (rows, columns))
    # The same header with rows of bytes, so that the house's check of the file's size is of the right size.
    as_bytes = struct.pack(f"{order}4i", -(-columns // 2), rows, frames, 0) + raw[16:]
    header = parse_mrc_header(path, as_bytes, size)
    return replace(header, dtype=np.dtype(np.uint8)), columns


def _packed_order(raw: bytes) -> str | None:
    """Byte order of a header of mode 101; None for every other mode."""
    if len(raw) < HEADER_BYTES:
        return None
    return next((order for order in "<>" if struct.unpack(f"{order}i", raw[12:16])[0] == PACKED_MODE), None)


def _refuse_disguised(path: Path, raw: bytes, header: MrcHeader) -> None:
    order = header.dtype.byteorder if header.dtype.byteorder in "<>" else "<"
    stamp, flags = struct.unpack(f"{order}2i", raw[152:160])
    if header.dtype.itemsize == 1 and stamp == _IMOD_STAMP and flags & _IMOD_PACKED:
        raise InputError(f"{path}: 4-bit pixels in MRC mode 0 are not supported; mode {PACKED_MODE} is.")
