"""Movies for a GPU: decoded ahead by worker processes while the device works on the one before."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cryorepro.em.movies.ahead import DecodedMovie, decode_ahead
from cryorepro.em.movies.checking import MovieCheck, SetAside
from cryorepro.em.movies.movie import Pixels

_HOST_SHARE = 0.6
_PICTURES_HERE = 8
"""Pictures of a frame's size in float32 that the parent holds on the CPU: gain, total, sums on their way to files."""


@dataclass(frozen=True)
class HeldMovie:
    """A decoded movie as a source of frames, which are looked at where they lie: valid until the next one comes."""

    kind: str
    pixels: Pixels
    hardware_frames: tuple[int, ...]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return self.pixels.nbytes

    def read_frame(self, index: int) -> Pixels:
        """Frame ``index``, not a copy."""
        frame: Pixels = self.pixels[index]
        return frame


def affordable_decoders(check: MovieCheck, workers: int) -> int:
    """Worker processes, at most ``workers``, whose movies fit into the CPU's memory with the one being worked on.

    0 where not even two movies fit: frames are then read one by one when they are needed.
    """
    rows, columns = check.shape
    free = int(psutil.virtual_memory().available * _HOST_SHARE) - _PICTURES_HERE * 4 * rows * columns
    return max(0, min(workers, free // max(1, _slot_bytes(check)) - 1))


def decoded_movies(
    paths: Sequence[Path], check: MovieCheck, decoders: int, *, eer_fractions: int | None, eer_super_resolution: int
) -> Iterator[HeldMovie | SetAside]:
    """Every movie of ``paths`` in that order, decoded by ``decoders`` processes, or why it is set aside.

    Raises:
        WorkerError: a worker was killed, or ran out of memory.
    """
    memory = (decoders + 1) * _slot_bytes(check)
    for found in decode_ahead(
        paths, decoders, memory_bytes=memory, eer_fractions=eer_fractions, eer_super_resolution=eer_super_resolution
    ):
        yield _held(found)


def _held(found: DecodedMovie) -> HeldMovie | SetAside:
    if found.aside is not None:
        return found.aside
    assert found.frames is not None
    return HeldMovie(found.kind, found.frames, found.hardware_frames)


def _slot_bytes(check: MovieCheck) -> int:
    return -(-check.most_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
