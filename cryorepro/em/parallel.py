"""Independent tasks on forked workers, results in task order.

What a task computes never depends on how many workers there are, so sums taken in task order have the same bits
for any number of them. Workers run one thread each: on a busy machine that is also the fastest way to use cores.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any, TypeVar

import torch

from cryorepro.em.errors import InputError

Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1


class WorkerError(RuntimeError):
    """A worker process raised, or died without an answer (killed, out of memory)."""

    @property
    def lack_of_memory(self) -> bool:
        """Whether a worker could not allocate memory (one that was killed for it leaves no such trace)."""
        text = str(self)
        return "MemoryError" in text or "OutOfMemoryError" in text or "can't allocate memory" in text


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch on one thread: sums then have one order, and a later fork cannot inherit a thread pool."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_in_order(task: Callable[[int], Result], count: int, workers: int) -> Iterator[Result]:
    """Yield ``task(0) .. task(count - 1)`` in that order, computed by ``workers`` forked processes.

    Workers see the parent's memory as it was when this was called. Results are pickled: return numpy arrays.
    With one worker (or one task) everything runs in this process.

    Raises:
        WorkerError: a task raised in a worker, or a worker died. An InputError comes through as it is.
    """
    if workers <= 1 or count <= 1:
        with single_threaded():
            for index in range(count):
                yield task(index)
        return
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    connections: list[Connection] = []
    processes: list[ForkProcess] = []
    with single_threaded():
        for _ in range(min(workers, count)):
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(task, count, counter, sending), daemon=True)
            process.start()
            sending.close()
            connections.append(receiving)
            processes.append(process)
    try:
        yield from _collect(connections, count)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _collect(connections: list[Connection], count: int) -> Iterator[Any]:
    waiting: dict[int, Any] = {}
    expected = 0
    open_ends = list(connections)
    while expected < count:
        if not open_ends:
            raise WorkerError(f"Task {expected + 1} of {count} was lost: a worker died (killed or out of memory).")
        for connection in multiprocessing.connection.wait(open_ends):
            assert isinstance(connection, Connection)
            try:
                index, failure, result = connection.recv()
            except EOFError:
                open_ends.remove(connection)
                continue
            if isinstance(failure, InputError):
                raise failure
            if failure is not None:
                raise WorkerError(failure)
            waiting[index] = result
        while expected in waiting:
            yield waiting.pop(expected)
            expected += 1


def _work(task: Callable[[int], Any], count: int, counter: Any, sending: Connection) -> None:
    die_with_parent()
    torch.set_num_threads(1)
    while True:
        with counter.get_lock():
            index = counter.value
            counter.value += 1
        if index >= count:
            return
        try:
            sending.send((index, None, task(index)))
        except InputError as error:
            sending.send((index, error, None))
            return
        except Exception:  # noqa: BLE001 - whatever it was, the parent raises it
            sending.send((index, traceback.format_exc(), None))
            return


def die_with_parent() -> None:
    """Ask the kernel to kill this worker when its parent ends, however it ends; restore default signals."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)


def end_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(by))
