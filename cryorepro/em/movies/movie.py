"""What every movie file is to the rest of the program: counted frames of one shape, read one by one.

Rows are in the order they are stored in, in every format: row 0 is the first row of the file. RELION turns TIFF
pictures upside down when it reads them, and leaves MRC and EER as they are; stages that correct movies do the same.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError

MAX_SIDE_PX = 65_536  # EER at a super-resolution factor of 4 is 16384
MAX_FRAMES = 1_000_000

Pixels = NDArray[Any]


class Movie(ABC):
    """One open movie; a context manager.

    Attributes:
        path: The file.
        kind: ``tiff``, ``eer`` or ``mrc``.
        frames: How many frames ``read_frame`` gives (for EER, fractions).
        shape: (rows, columns) of a frame in pixels.
        dtype: Element type of a frame, in native byte order.
        hardware_frames: Detector frames in each of ``frames``; 1 except for EER.
    """

    kind: str

    def __init__(self, path: Path, frames: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        """Check the claimed size. Raises InputError if it is not one that a movie has."""
        check_claim(path, frames, shape)
        self.path, self.frames, self.shape, self.dtype = path, frames, shape, dtype.newbyteorder("=")
        self.hardware_frames: tuple[int, ...] = (1,) * frames

    @property
    def nbytes(self) -> int:
        """Bytes that all frames take when they are decoded."""
        return self.frames * math.prod(self.shape) * self.dtype.itemsize

    def read_frame(self, index: int) -> Pixels:
        """Frame ``index`` (from 0) as ``[rows, columns]``.

        Raises:
            InputError: there is no such frame, or its bytes cannot be decoded.
        """
        if not 0 <= index < self.frames:
            raise InputError(f"{self.path}: frame {index + 1} was asked for, but the movie has {self.frames}.")
        out = np.empty(self.shape, dtype=self.dtype)
        self._read_into(index, out)
        return out

    def read_all(self, out: Pixels | None = None) -> Pixels:
        """All frames as ``[frames, rows, columns]``; into ``out`` where it is given.

        Raises:
            InputError: a frame cannot be decoded, or ``out`` is not of this movie's shape and type.
        """
        wanted = (self.frames, *self.shape)
        if out is None:
            out = np.empty(wanted, dtype=self.dtype)
        if out.shape != wanted or out.dtype != self.dtype:
            raise InputError(f"{self.path}: {wanted} of {self.dtype} do not fit in {out.shape} of {out.dtype}.")
        for index in range(self.frames):
            self._read_into(index, out[index])
        return out

    @abstractmethod
    def _read_into(self, index: int, out: Pixels) -> None:
        """Decode frame ``index``, which exists, into ``out`` of the movie's shape and type."""

    def close(self) -> None:  # noqa: B027 -- formats that keep nothing open have nothing to do
        """Let go of the file; the movie cannot be read afterwards."""

    def __enter__(self) -> Movie:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_claim(path: Path, frames: int, shape: tuple[int, ...]) -> None:
    """Refuse sizes that no detector writes, before anything of that size is made.

    Raises:
        InputError: no frames, too many, or sides that are empty or longer than ``MAX_SIDE_PX``.
    """
    if not 1 <= frames <= MAX_FRAMES:
        raise InputError(f"{path}: a movie of {frames} frames (from 1 to {MAX_FRAMES} can be read).")
    if len(shape) != 2 or min(shape) < 1 or max(shape) > MAX_SIDE_PX:
        sides = " x ".join(str(side) for side in shape)
        raise InputError(f"{path}: frames of {sides} pixels (sides from 1 to {MAX_SIDE_PX} can be read).")
