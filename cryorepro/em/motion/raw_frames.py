"""Frames of one movie as they are stored, held in memory or read again, with bad pixels taken from good neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryorepro.em.devices.choice import CPU
from cryorepro.em.errors import InputError
from cryorepro.em.motion.resample import GROUP
from cryorepro.em.movies.correction import good_neighbours

Pixels = NDArray[Any]
_PRIME_PIXEL, _PRIME_FRAME = 7919, 104_729
_CANDIDATES = 8
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
"""Types of the same bits that a GPU can compare and index; of the unsigned ones it knows the smallest alone."""


class FrameSource(Protocol):
    """What frames are read from: a ``cryorepro.em.movies.movie.Movie`` or anything like it."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a frame."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of all frames as stored."""
        ...

    def read_frame(self, index: int) -> Pixels:
        """Frame ``index`` as ``[rows, columns]``."""
        ...


class ArrayFrames:
    """Frames ``[frames, rows, columns]`` that are already in memory."""

    def __init__(self, frames: Pixels) -> None:
        self._frames = frames
        self.frames = len(frames)
        self.shape: tuple[int, int] = (frames.shape[1], frames.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return self._frames.nbytes

    def read_frame(self, index: int) -> Pixels:
        """Frame ``index``, a copy: bad pixels are replaced in place."""
        return np.array(self._frames[index])


class TurnedFrames:
    """Frames of a TIFF movie upside down, as RELION, MotionCor2 and CryoSPARC read them.

    A gain reference that is said to need a flip in y, the coordinates of picks and the hand of the map are all meant
    in this orientation. MRC and EER movies are read as they are stored.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self.frames, self.shape = source.frames, source.shape

    @property
    def nbytes(self) -> int:
        """Bytes of all frames as stored."""
        return self._source.nbytes

    def read_frame(self, index: int) -> Pixels:
        """Frame ``index``, its last row first."""
        return np.ascontiguousarray(self.stored(index)[::-1])

    def stored(self, index: int) -> Pixels:
        """Frame ``index`` as it is stored."""
        return self._source.read_frame(index)


class RawFrames:
    """The frames of a movie in groups that fit in memory; a single group is read once and kept.

    They are held on ``device`` as they are stored, in at most ``memory_bytes``, or a few frames.
    """

    def __init__(self, source: FrameSource, memory_bytes: int, device: torch.device = CPU) -> None:
        self._source, self.device = source, device
        self.frames, self.shape = source.frames, source.shape
        per_frame = max(1, source.nbytes // source.frames)
        # multiples of what is added at once, so that the sums have the same bits for any amount of memory
        fitting = max(GROUP, memory_bytes // per_frame // GROUP * GROUP)
        self._group = min(source.frames, fitting)
        self._kept: list[Tensor] | None = None
        self._bad: NDArray[np.intp] | None = None
        self._near: NDArray[np.intp] = np.empty((0, _CANDIDATES), dtype=np.intp)

    def groups(self) -> Iterator[tuple[int, list[Tensor]]]:
        """Yield the number of each group's first frame and its frames.

        Raises:
            InputError: a frame cannot be read, is zero everywhere, or has NaN.
        """
        if self._kept is not None:
            yield 0, self._kept
            return
        for first in range(0, self.frames, self._group):
            group = [self._read(number) for number in range(first, min(first + self._group, self.frames))]
            if self._group == self.frames:
                self._kept = group
            yield first, group
            if self._kept is None:
                group.clear()  # two groups at once would take twice the memory

    def forget(self) -> None:
        """Let go of frames that are kept: they are not wanted any more."""
        self._kept = None

    def total(self) -> NDArray[np.float32]:
        """The sum ``[rows, columns]`` of all frames as stored, before any pixel is replaced.

        Raises:
            InputError: as for ``groups``.
        """
        total = self._total_here() if self.device.type == "cpu" else self._total_there()
        if not np.isfinite(total.sum(dtype=np.float64)):
            raise InputError("The frames have NaN or infinite pixels.")
        return total

    def _total_here(self) -> NDArray[np.float32]:
        total = np.zeros(self.shape, dtype=np.float32)
        for _, group in self.groups():
            for frame in group:
                np.add(total, frame.numpy(), out=total)  # torch is six times slower at sums of mixed types
        return total

    def _total_there(self) -> NDArray[np.float32]:
        total = torch.zeros(self.shape, dtype=torch.float32, device=self.device)
        for _, group in self.groups():
            for frame in group:
                total += frame.to(torch.float32)
        found: NDArray[np.float32] = total.cpu().numpy()
        return found

    def replace(self, bad: NDArray[np.bool_], gain: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """From now on give bad pixels the count of a good neighbour, another one in each frame.

        Returns:
            ``gain`` with the bad pixels' values replaced by the mean of their neighbours'.
        """
        where = np.flatnonzero(bad)
        if not len(where):
            return gain
        self._bad, self._near = where, good_neighbours(bad, where, np.random.default_rng(0))
        for number, frame in enumerate(self._kept or []):
            self._settle(frame, number)
        if gain is not None:
            gain = gain.copy()
            gain.ravel()[where] = gain.ravel()[self._near].mean(axis=1)
        return gain

    def _read(self, number: int) -> Tensor:
        # a GPU turns a frame faster than the CPU could
        turned = self._source if self.device.type != "cpu" and isinstance(self._source, TurnedFrames) else None
        pixels = np.ascontiguousarray(turned.stored(number) if turned else self._source.read_frame(number))
        if not pixels.flags.writeable:
            pixels = pixels.copy()
        frame = torch.from_numpy(pixels).to(self.device)
        if turned:
            frame = _indexable(frame).flip(0).view(frame.dtype)
        if not bool(_indexable(frame).any()):
            raise InputError(f"Frame {number + 1} is zero everywhere.")
        self._settle(frame, number)
        return frame

    def _settle(self, frame: Tensor, number: int) -> None:
        if self._bad is None:
            return
        choice = (np.arange(len(self._bad)) * _PRIME_PIXEL + number * _PRIME_FRAME) % _CANDIDATES
        taken = self._near[np.arange(len(self._bad)), choice]
        if self.device.type == "cpu":
            flat = frame.numpy().reshape(-1)
            flat[self._bad] = flat[taken]
        else:
            there = _indexable(frame).view(-1)
            there[torch.from_numpy(self._bad).to(self.device)] = there[torch.from_numpy(taken).to(self.device)]


def _indexable(frame: Tensor) -> Tensor:
    return frame.view(_SIGNED[frame.dtype]) if frame.device.type != "cpu" and frame.dtype in _SIGNED else frame
