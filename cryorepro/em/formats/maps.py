"""Three-dimensional maps and image stacks as MRC files: float32, voxel size, the same bytes every time."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.mrc import HEADER_BYTES, read_mrc_header

MAX_MAP_BYTES = 64 * 1024**3
VOLUME, IMAGES = 1, 0  # space group: 1 for a volume, 0 for a stack of images
_MODES = {np.dtype(np.float32): 2, np.dtype(np.float16): 12}


@dataclass(frozen=True)
class Statistics:
    """The density statistics of an MRC header."""

    lowest: float
    highest: float
    mean: float
    deviation: float


def read_map(path: Path | str, pixel_size_angstrom: float | None = None) -> tuple[NDArray[np.float32], float]:
    """Read a map as float32 [z, y, x] with its voxel size in Angstrom.

    Axes stored in another order are brought to zyx; start indices and origin are not applied, as in RELION.

    Args:
        path: The file.
        pixel_size_angstrom: Used instead of the header's voxel size if given.

    Raises:
        InputError: The file is missing, truncated, has NaN, or its voxels have no size or are not cubic.
    """
    header = read_mrc_header(path)
    if math.prod(header.shape) * 4 > MAX_MAP_BYTES:
        raise InputError(f"{path}: a map of {header.shape} voxels is larger than this program reads.")
    # read, not mapped: every voxel is wanted, and mapping a large file page by page takes longer than reading it
    stored_values = np.fromfile(header.path, header.dtype, math.prod(header.shape), offset=header.data_offset)
    volume = stored_values.reshape(header.shape).astype(np.float32, copy=False)
    mapc, mapr, maps = header.axis_order
    stored = (maps, mapr, mapc)  # which of x=1, y=2, z=3 each stored axis is
    volume = np.ascontiguousarray(volume.transpose([stored.index(axis) for axis in (3, 2, 1)]))
    if not np.isfinite(volume).all():
        raise InputError(f"{path}: the map has NaN or infinite voxels.")
    return volume, pixel_size_angstrom or _voxel_size(path, header.voxel_size_angstrom)


def _voxel_size(path: Path | str, sizes: tuple[float, float, float]) -> float:
    if min(sizes) <= 0:
        raise InputError(f"{path}: the header has no voxel size.")
    if max(sizes) - min(sizes) > 1e-3 * min(sizes):
        raise InputError(f"{path}: voxels of {sizes[2]:g} x {sizes[1]:g} x {sizes[0]:g} Angstrom are not cubic.")
    # float32 headers: seven figures are all there is, so that 7.54 does not come back as 7.5399999.
    return float(f"{sizes[2]:.7g}")


def write_map(path: Path | str, volume: NDArray[np.floating], pixel_size_angstrom: float) -> None:
    """Write a volume [z, y, x] as float32, atomically; equal input gives equal bytes."""
    _write(Path(path), np.asarray(volume, dtype=np.float32), pixel_size_angstrom, VOLUME)


def write_stack(
    path: Path | str, images: NDArray[np.floating], pixel_size_angstrom: float, half_precision: bool = False
) -> None:
    """Write images [n, y, x] as float32 (or float16, mode 12), atomically; equal input gives equal bytes."""
    dtype = np.float16 if half_precision else np.float32
    _write(Path(path), np.asarray(images, dtype=dtype), pixel_size_angstrom, IMAGES)


def _write(path: Path, data: NDArray[np.floating], pixel_size_angstrom: float, space_group: int) -> None:
    if data.ndim != 3 or 0 in data.shape:
        raise InputError(f"{path}: data of shape {data.shape} cannot be written as MRC (three axes are needed).")
    if not (math.isfinite(pixel_size_angstrom) and pixel_size_angstrom > 0):
        raise InputError(f"{path}: a pixel size of {pixel_size_angstrom} Angstrom cannot be written.")
    with atomic_writer(path) as stream:
        header = mrc_header(data.shape, data.dtype, pixel_size_angstrom, space_group, _statistics(data))
        stream.write(header)
        stream.write(np.ascontiguousarray(data.astype(data.dtype.newbyteorder("<"), copy=False)).data)


def mrc_header(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    pixel_size_angstrom: float,
    space_group: int,
    statistics: Statistics,
) -> bytes:
    """The 1,024 bytes before the data of shape (nz, ny, nx): no label, hence no time stamp."""
    nz, ny, nx = shape
    sections = nz if space_group == VOLUME else 1  # MRC2014: mz is 1 for a stack of images
    raw = bytearray(HEADER_BYTES)
    struct.pack_into("<10i", raw, 0, nx, ny, nz, _MODES[dtype.newbyteorder("=")], 0, 0, 0, nx, ny, sections)
    cell = [count * pixel_size_angstrom for count in (nx, ny, sections)]
    struct.pack_into("<6f", raw, 40, *cell, 90.0, 90.0, 90.0)
    extremes = (statistics.lowest, statistics.highest, statistics.mean)
    struct.pack_into("<3i3f2i", raw, 64, 1, 2, 3, *extremes, space_group, 0)
    struct.pack_into("<i", raw, 108, 20141)  # NVERSION: MRC2014, second revision
    struct.pack_into("<4s4Bf", raw, 208, b"MAP ", 0x44, 0x44, 0, 0, statistics.deviation)
    return bytes(raw)


def _statistics(data: NDArray[np.floating]) -> Statistics:
    # Section by section, so that a large map needs no second copy in double precision.
    count = float(data.size)
    mean = math.fsum(float(section.sum(dtype=np.float64)) for section in data) / count
    squares = math.fsum(float(np.square(section.astype(np.float64) - mean).sum()) for section in data)
    return Statistics(float(data.min()), float(data.max()), mean, math.sqrt(squares / count))
