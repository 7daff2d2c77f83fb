"""MRC headers, read on their own so that sizes are checked before any memory is taken.

Layout: MRC2014, Cheng et al., J. Struct. Biol. 192 (2015) 146, doi:10.1016/j.jsb.2015.04.002; mode 12
(float16) from its 2022 addition. Byte order is taken from the machine stamp where it is one, else from which
order gives a known mode (some programs leave the stamp empty).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cryorepro.em.errors import InputError

HEADER_BYTES = 1024
MAX_SIDE = 1_000_000
MAX_SECTIONS = 50_000_000
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_IMOD_STAMP = 1146047817
ByteOrder = Literal["<", ">"]


@dataclass(frozen=True)
class MrcHeader:
    """What is needed to map the data of an MRC file.

    Attributes:
        path: The file.
        shape: (nz, ny, nx): sections, rows, columns, as stored.
        dtype: Element type with byte order.
        data_offset: Bytes before the first element.
        voxel_size_angstrom: (z, y, x) from cell and sampling; 0 where the header has none.
        axis_order: (mapc, mapr, maps): which of x=1, y=2, z=3 runs along columns, rows and sections.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    data_offset: int
    voxel_size_angstrom: tuple[float, float, float]
    axis_order: tuple[int, int, int]


def read_mrc_header(path: Path | str) -> MrcHeader:
    """Read a header and check the file is long enough for what it declares.

    Raises:
        InputError: The file is missing, not MRC, of an unsupported mode, or truncated.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            raw = stream.read(HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{path}: the MRC file cannot be read ({error.strerror}).") from error
    return parse_mrc_header(path, raw, size)


def parse_mrc_header(path: Path, raw: bytes, size: int) -> MrcHeader:
    """Check a header that was read from anywhere; `path` names the file, which has `size` bytes.

    Raises:
        InputError: Not MRC, of an unsupported mode, or the file is shorter than the header declares.
    """
    if len(raw) < HEADER_BYTES:
        raise InputError(f"{path}: not an MRC file ({len(raw)} bytes, shorter than a header).")
    header = _parse(path, raw, _byte_order(path, raw))
    expected = header.data_offset + math.prod(header.shape) * header.dtype.itemsize
    if size < expected:
        raise InputError(
            f"{path}: truncated: the header declares {header.shape[0]} images and {expected} bytes, "
            f"but the file has {size} bytes."
        )
    return header


def _byte_order(path: Path, raw: bytes) -> ByteOrder:
    stamped: ByteOrder | None = {0x44: "<", 0x11: ">"}.get(raw[212])  # type: ignore[assignment]
    candidates: tuple[ByteOrder, ...] = (stamped,) if stamped else ("<", ">")
    for order in candidates:
        nx, ny, nz, mode = struct.unpack(f"{order}4i", raw[:16])
        if mode in _MODES and 0 < nx <= MAX_SIDE and 0 < ny <= MAX_SIDE and 0 < nz <= MAX_SECTIONS:
            return order
    nx, ny, nz, mode = struct.unpack(f"{candidates[0]}4i", raw[:16])
    if 0 < nx <= MAX_SIDE and 0 < ny <= MAX_SIDE and 0 < nz <= MAX_SECTIONS and 0 <= mode <= 101:
        raise InputError(f"{path}: MRC mode {mode} is not supported (0, 1, 2, 6 and 12 are).")
    raise InputError(f"{path}: not an MRC file (size {nx} x {ny} x {nz}, mode {mode}).")


def _parse(path: Path, raw: bytes, order: ByteOrder) -> MrcHeader:
    nx, ny, nz, mode, *_rest, mx, my, mz = struct.unpack(f"{order}10i", raw[:40])
    cell_x, cell_y, cell_z = struct.unpack(f"{order}3f", raw[40:52])
    mapc, mapr, maps = struct.unpack(f"{order}3i", raw[64:76])
    (extended_bytes,) = struct.unpack(f"{order}i", raw[92:96])
    if extended_bytes < 0:
        raise InputError(f"{path}: not an MRC file (extended header of {extended_bytes} bytes).")
    element = "u1" if mode == 0 and _is_unsigned_imod(raw, order) else _MODES[mode]
    spacing = tuple(_ratio(cell, count) for cell, count in ((cell_z, mz), (cell_y, my), (cell_x, mx)))
    axes = (mapc, mapr, maps) if sorted((mapc, mapr, maps)) == [1, 2, 3] else (1, 2, 3)
    return MrcHeader(
        path, (nz, ny, nx), np.dtype(element).newbyteorder(order), HEADER_BYTES + extended_bytes,
        (spacing[0], spacing[1], spacing[2]), axes,
    )  # fmt: skip


def _is_unsigned_imod(raw: bytes, order: ByteOrder) -> bool:
    # IMOD marks signed bytes with bit 0 of its flags; its unmarked mode 0 is unsigned.
    stamp, flags = struct.unpack(f"{order}2i", raw[152:160])
    return bool(stamp == _IMOD_STAMP and not flags & 1)


def _ratio(cell: float, count: int) -> float:
    return cell / count if count > 0 and math.isfinite(cell) and cell > 0 else 0.0
