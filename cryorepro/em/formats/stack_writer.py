"""Write an image stack chunk by chunk, so that it never has to fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.formats.atomic import atomic_writer
from cryorepro.em.formats.maps import IMAGES, Statistics, mrc_header
from cryorepro.em.formats.mrc import HEADER_BYTES


def write_stack_chunks(
    path: Path | str,
    chunks: Iterable[NDArray[np.floating]],
    count: int,
    box_px: int,
    pixel_size_angstrom: float,
) -> None:
    """Write `count` images that come in chunks [m, box, box] as a float32 stack, atomically.

    Equal chunks give equal bytes. Nothing is left behind if the chunks fail or are not `count` images.

    Raises:
        InputError: The chunks hold another number of images, or images of another size.
        OSError: The directory cannot be written or the disk is full.
    """
    running, written = _Running(), 0
    with atomic_writer(Path(path)) as stream:
        stream.write(bytes(HEADER_BYTES))
        for chunk in chunks:
            if chunk.shape[1:] != (box_px, box_px):
                raise InputError(f"{path}: images of shape {chunk.shape[1:]} do not fit a stack of box {box_px}.")
            data = np.ascontiguousarray(chunk, dtype="<f4")
            running.add(data)
            written += len(data)
            stream.write(data.data)
        if written != count:
            raise InputError(f"{path}: {written} images were to be written where {count} were announced.")
        stream.seek(0)
        stream.write(_header(running, count, box_px, pixel_size_angstrom))


def stack_header(chunks: Iterable[NDArray[np.floating]], count: int, box_px: int, pixel_size_angstrom: float) -> bytes:
    """The header `write_stack_chunks` gives these chunks, for data that are in place already."""
    running = _Running()
    for chunk in chunks:
        running.add(np.ascontiguousarray(chunk, dtype="<f4"))
    return _header(running, count, box_px, pixel_size_angstrom)


class _Running:
    """Density statistics, summed in double precision chunk by chunk."""

    def __init__(self) -> None:
        self.sums: list[float] = []
        self.squares: list[float] = []
        self.lowest, self.highest = math.inf, -math.inf

    def add(self, data: NDArray[np.float32]) -> None:
        wide = data.astype(np.float64)
        self.sums.append(float(wide.sum()))
        self.squares.append(float(np.square(wide).sum()))
        self.lowest, self.highest = min(self.lowest, float(data.min())), max(self.highest, float(data.max()))


def _header(running: _Running, count: int, box_px: int, pixel_size_angstrom: float) -> bytes:
    mean = math.fsum(running.sums) / (count * box_px**2)
    deviation = math.sqrt(max(math.fsum(running.squares) / (count * box_px**2) - mean**2, 0.0))
    statistics = Statistics(running.lowest, running.highest, mean, deviation)
    return mrc_header((count, box_px, box_px), np.dtype("<f4"), pixel_size_angstrom, IMAGES, statistics)
