"""Decode movies in worker processes, a few ahead of the one that is being worked on, in a fixed amount of memory.

Decoded frames lie in shared memory that the parent sets aside once and hands out slot by slot; nothing of their size
is ever sent. A movie that does not fit in a slot is set aside by its header, before memory is taken.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np

from cryorepro.em.errors import InputError
from cryorepro.em.movies.checking import SetAside, frames_fault, unreadable
from cryorepro.em.movies.movie import Movie, Pixels
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.parallel import WorkerError, die_with_parent

DEFAULT_MEMORY_BYTES = 4 * 1024**3
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


@dataclass(frozen=True)
class DecodedMovie:
    """One movie of a list, decoded or set aside.

    Attributes:
        index: Its place in the list.
        path: Its file.
        frames: ``[frames, rows, columns]``, valid until the next movie is asked for; None if it was set aside.
        hardware_frames: Detector frames in each of ``frames``.
        aside: Why it was set aside; None if it was not.
        kind: ``tiff``, ``eer`` or ``mrc``.
    """

    index: int
    path: Path
    frames: Pixels | None
    hardware_frames: tuple[int, ...] = ()
    aside: SetAside | None = None
    kind: str = ""


@dataclass(frozen=True)
class _Decoded:
    """What a worker sends: where the frames lie is the parent's business."""

    shape: tuple[int, int, int]
    dtype: str
    hardware_frames: tuple[int, ...]
    kind: str


_Open = Callable[[Path], Movie]
_Answer = _Decoded | SetAside


def decode_ahead(
    paths: Sequence[Path],
    workers: int = 1,
    *,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    eer_fractions: int | None = None,
    eer_super_resolution: int = 1,
) -> Generator[DecodedMovie, None, None]:
    """Yield every movie of ``paths``, in that order, decoded ahead by ``workers`` processes.

    What is wrong with one movie (unreadable, zeros, NaN, too large, bytes that crash a decoder) sets it aside and
    stops nothing.

    Args:
        paths: The files.
        workers: Worker processes; with 0 every movie is decoded here when its turn comes.
        memory_bytes: Most memory for decoded frames, shared by one movie per worker and the one being worked on.
        eer_fractions: As for ``open_movie``.
        eer_super_resolution: As for ``open_movie``.

    Raises:
        WorkerError: a worker was killed, or ran out of memory.
    """
    opener = partial(open_movie, eer_fractions=eer_fractions, eer_super_resolution=eer_super_resolution)
    slots = max(0, workers) + 1
    slot_bytes = memory_bytes // slots // mmap.PAGESIZE * mmap.PAGESIZE
    if slot_bytes < mmap.PAGESIZE:
        raise InputError(f"memory_bytes {memory_bytes} is too little to decode movies in.")
    if workers < 1:
        yield from _decode_here(paths, opener, slot_bytes)
        return
    # Anonymous shared pages: memory is used when a frame is first written, and gone with the last process.
    memory = mmap.mmap(-1, slots * slot_bytes)
    pool = _Pool(memory, slot_bytes, workers, paths, opener)
    try:
        yield from pool.decode(slots)
    finally:
        pool.close()


def _decode_here(paths: Sequence[Path], opener: _Open, slot_bytes: int) -> Iterator[DecodedMovie]:
    for index, path in enumerate(paths):
        try:
            with opener(path) as movie:
                _check_fits(movie, slot_bytes)
                frames = movie.read_all()
                aside = frames_fault(path, frames)
                taken, kind = movie.hardware_frames, movie.kind
        except InputError as error:
            yield DecodedMovie(index, path, None, aside=unreadable(error))
            continue
        yield DecodedMovie(index, path, None if aside else frames, taken, aside, kind)


def _check_fits(movie: Movie, slot_bytes: int) -> None:
    if movie.nbytes > slot_bytes:
        raise InputError(
            f"{movie.path}: its frames take {movie.nbytes} bytes, more than the {slot_bytes} set aside for one movie."
        )


class _Pool:
    """Forked workers that decode into slots of one shared block."""

    def __init__(self, memory: mmap.mmap, slot_bytes: int, workers: int, paths: Sequence[Path], opener: _Open) -> None:
        self._memory, self._slot_bytes, self._paths = memory, slot_bytes, paths
        self._opener = opener
        self._processes: dict[Connection, ForkProcess] = {}
        for _ in range(min(workers, len(paths))):
            self._add_worker()

    def _add_worker(self) -> Connection:
        # Forked, not spawned: the block is inherited. Workers run no torch, whose threads a fork would not survive.
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._memory, self._slot_bytes, self._paths, self._opener)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self._processes[ours] = process
        return ours

    def close(self) -> None:
        """End the workers. The block is freed with the last array that looks at it."""
        for process in self._processes.values():
            process.terminate()
        for connection, process in self._processes.items():
            process.join()
            connection.close()

    def decode(self, slots: int) -> Iterator[DecodedMovie]:
        """All movies in order; a slot is free again when the movie after its own is asked for."""
        idle, free = list(self._processes), list(range(slots))
        busy: dict[Connection, tuple[int, int]] = {}
        done: dict[int, tuple[int, _Answer]] = {}
        ahead = iter(range(len(self._paths)))
        for wanted in range(len(self._paths)):
            while wanted not in done:
                self._hand_out(ahead, idle, free, busy)
                self._collect(idle, busy, done)
            self._hand_out(ahead, idle, free, busy)
            slot, answer = done.pop(wanted)
            yield self._decoded(wanted, slot, answer)
            free.append(slot)

    @staticmethod
    def _hand_out(
        ahead: Iterator[int], idle: list[Connection], free: list[int], busy: dict[Connection, tuple[int, int]]
    ) -> None:
        while idle and free:
            index = next(ahead, None)
            if index is None:
                return
            connection, slot = idle.pop(), free.pop()
            connection.send((index, slot))
            busy[connection] = (index, slot)

    def _collect(
        self, idle: list[Connection], busy: dict[Connection, tuple[int, int]], done: dict[int, tuple[int, _Answer]]
    ) -> None:
        for connection in multiprocessing.connection.wait(list(busy)):
            assert isinstance(connection, Connection)
            index, slot = busy.pop(connection)
            try:
                done[index] = (slot, connection.recv())
                idle.append(connection)
            except (EOFError, ConnectionError):
                done[index] = (slot, self._crashed(index, connection))
                idle.append(self._add_worker())

    def _crashed(self, index: int, connection: Connection) -> SetAside:
        """The movie whose bytes ended a decoder; WorkerError where it was not the decoder's fault."""
        process = self._processes.pop(connection)
        process.join()
        connection.close()
        code = process.exitcode or 0
        if -code not in _CRASHES:
            raise WorkerError(f"{self._paths[index]}: the process that decoded it was killed (exit code {code}).")
        reason = f"{self._paths[index]}: its bytes crash the decoder ({signal.Signals(-code).name}); it is damaged."
        return SetAside("unreadable", reason)

    def _decoded(self, index: int, slot: int, answer: _Answer) -> DecodedMovie:
        if isinstance(answer, SetAside):
            return DecodedMovie(index, self._paths[index], None, aside=answer)
        frames = _slot_array(self._memory, slot * self._slot_bytes, answer.shape, np.dtype(answer.dtype))
        return DecodedMovie(index, self._paths[index], frames, answer.hardware_frames, kind=answer.kind)


def _slot_array(memory: mmap.mmap, start: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Pixels:
    return np.frombuffer(memory, dtype=dtype, count=math.prod(shape), offset=start).reshape(shape)


def _serve(connection: Connection, memory: mmap.mmap, slot_bytes: int, paths: Sequence[Path], opener: _Open) -> None:
    die_with_parent()
    while True:
        try:
            index, slot = connection.recv()
        except EOFError:
            return
        connection.send(_decode_into(paths[index], opener, memory, slot * slot_bytes, slot_bytes))


def _decode_into(path: Path, opener: _Open, memory: mmap.mmap, start: int, slot_bytes: int) -> _Answer:
    try:
        with opener(path) as movie:
            _check_fits(movie, slot_bytes)
            shape = (movie.frames, *movie.shape)
            frames = movie.read_all(_slot_array(memory, start, shape, movie.dtype))
            return frames_fault(path, frames) or _Decoded(shape, movie.dtype.str, movie.hardware_frames, movie.kind)
    except InputError as error:
        return unreadable(error)
