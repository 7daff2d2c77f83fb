"""Workers that live through many steps, with memory that they and their parent share.

They are forked once: libraries stay warm in them, and large tables are written and read in place instead of being sent.
What a task computes never depends on how many workers there are.
"""

from __future__ import annotations

import io
import math
import mmap
import multiprocessing
import multiprocessing.connection
import os
import pickle
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from cryorepro.em.devices.choice import CPU
from cryorepro.em.devices.plan import Plan
from cryorepro.em.errors import InputError
from cryorepro.em.parallel import WorkerError, die_with_parent, single_threaded

Result = TypeVar("Result")

_ALIGNMENT = 4096
# mmap.MAP_NORESERVE, which Python lacks: pages count when they are written, not when address space is set aside.
_NO_RESERVE = {("Linux", "x86_64"): 0x4000, ("Linux", "aarch64"): 0x4000}


class Arena:
    """Float memory that processes forked later share; blocks are handed out and taken back like a stack.

    Address space for most of the machine's memory is set aside; memory itself is used when it is first written.
    """

    def __init__(self) -> None:
        """Set the address space aside."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        size = memory * 3 // 4 // _ALIGNMENT * _ALIGNMENT
        no_reserve = _NO_RESERVE.get((os.uname().sysname, os.uname().machine), 0)
        pages = mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | no_reserve)
        self._bytes = torch.from_numpy(np.frombuffer(pages, dtype=np.uint8))
        self._start = self._bytes.data_ptr()
        self.used = 0

    def allocate(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A block whose content is undefined.

        Raises:
            MemoryError: more was asked for than the machine has.
        """
        size = math.prod(shape) * dtype.itemsize
        end = self.used + -(-size // _ALIGNMENT) * _ALIGNMENT
        if end > self._bytes.shape[0]:
            raise MemoryError(f"{end} bytes of shared tables are more than the machine's memory.")
        block = self._bytes[self.used : self.used + size]
        self.used = end
        return block.view(dtype).reshape(shape)

    def place_of(self, address: int) -> int | None:
        """Offset of an address in the arena, None elsewhere."""
        offset = address - self._start
        return offset if 0 <= offset < self._bytes.shape[0] else None

    def at(self, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The tensor with this layout at ``offset``."""
        whole = self._bytes[offset : self._bytes.shape[0] - (self._bytes.shape[0] - offset) % dtype.itemsize]
        return whole.view(dtype).as_strided(shape, stride)


class _Pickler(pickle.Pickler):
    """Sends tensors as arrays, and what lies in the arena by its place."""

    def __init__(self, stream: io.BytesIO, arena: Arena) -> None:
        super().__init__(stream, protocol=5)
        self._arena = arena

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray) and obj.size and self._arena.place_of(obj.ctypes.data) is not None:
            return "array", self.persistent_id(torch.from_numpy(obj))
        if not isinstance(obj, Tensor) or not obj.numel():
            return None
        offset = self._arena.place_of(obj.data_ptr())
        return None if offset is None else (offset, tuple(obj.shape), obj.stride(), obj.dtype)

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor:
            return torch.from_numpy, (obj.detach().contiguous().numpy(),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, arena: Arena) -> None:
        super().__init__(io.BytesIO(data))
        self._arena = arena

    def persistent_load(self, pid: Any) -> Any:
        return self._arena.at(*pid[1]).numpy() if pid[0] == "array" else self._arena.at(*pid)


class Team:
    """Forked workers of one thread each; with one worker everything runs in this process.

    ``inherited`` are values that tasks can ask for by name and that are never sent; `share` adds others. ``worker``
    is the number of the worker that runs the task.
    """

    def __init__(self, workers: int, inherited: Mapping[str, Any], device: torch.device = CPU) -> None:
        """Fork ``workers`` processes; close the team (or use it as a context) to end them.

        A device other than the CPU is served by this process alone: its work runs beside Python's anyway.
        """
        self.workers = max(1, workers) if device.type == "cpu" else 1
        self.device = device
        # what steps hold at once since memory did not suffice; None: as much as they plan
        self.plan: Plan | None = None
        # seconds on the clock of each named part of the steps so far
        self.seconds: dict[str, float] = {}
        self._values: dict[str, Any] = {"worker": 0, **inherited}
        self._processes: list[ForkProcess] = []
        self._connections: list[Connection] = []
        if self.workers == 1:
            return
        self._arena = Arena()
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._counter = context.Value("q", 0)
        with single_threaded():
            for number in range(self.workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=self._serve, args=(theirs, number), daemon=True)
                process.start()
                theirs.close()
                self._connections.append(ours)
                self._processes.append(process)

    def __enter__(self) -> Team:
        """The team itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers."""
        self.close()

    def close(self) -> None:
        """End the workers."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for connection in self._connections:
            connection.close()
        self._processes, self._connections = [], []

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the time within to ``part`` (what a GPU is still busy with then counts to the next)."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - began

    def restart(self) -> None:
        """New workers in place of these, after one of them failed: others may be in the middle of something."""
        self.close()
        if self.workers > 1:
            self._start()

    @property
    def used(self) -> int:
        """Bytes of shared memory handed out; `release` takes back what came later."""
        return 0 if self.workers == 1 else self._arena.used

    def release(self, used: int) -> None:
        """Take back the shared memory handed out since `used` was read; it must no longer be in use."""
        if self.workers > 1:
            self._arena.used = used

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Memory on the team's device that every worker sees."""
        if self.workers == 1:
            return torch.empty(shape, dtype=dtype, device=self.device)
        return self._arena.allocate(shape, dtype)

    def copy(self, values: Tensor) -> Tensor:
        """A copy that every worker sees (the tensor itself if there are none and it is on the team's device)."""
        if self.workers == 1:
            return values.to(self.device)
        return self._arena.allocate(tuple(values.shape), values.dtype).copy_(values)

    def share(self, name: str, value: Any) -> None:
        """Give every worker ``value`` under ``name``, in place of what it had there."""
        self._values[name] = value
        if self.workers > 1:
            self._send_all(("share", name, value))

    def forget(self, *names: str) -> None:
        """Give every worker None under ``names``: what was shared there may be freed."""
        for name in names:
            self.share(name, None)

    def map(self, task: Callable[..., Result], count: int, *names: str) -> Iterator[Result]:
        """Yield ``task(i, *values of names)`` for i from 0 to ``count - 1``, in that order.

        ``task`` must be a function of a module. A result that lies in shared memory is overwritten when the next one
        is asked for.

        Raises:
            WorkerError: a task raised in a worker, or a worker died. An InputError comes through as it is.
        """
        if self.workers == 1:
            with single_threaded():
                for index in range(count):
                    yield task(index, *(self._values[name] for name in names))
            return
        self._counter.value = 0
        self._send_all(("map", task, count, names))
        yield from self._collect(count)

    def _send_all(self, message: Any) -> None:
        data = self._packed(message)
        try:
            for connection in self._connections:
                connection.send_bytes(data)
        except OSError as error:
            raise WorkerError("A worker died (killed or out of memory).") from error

    def _packed(self, message: Any) -> bytes:
        stream = io.BytesIO()
        _Pickler(stream, self._arena).dump(message)
        return stream.getvalue()

    def _unpacked(self, data: bytes) -> Any:
        return _Unpickler(data, self._arena).load()

    def _collect(self, count: int) -> Iterator[Any]:
        waiting: dict[int, tuple[Connection, bytes]] = {}
        expected, busy = 0, list(self._connections)
        while busy:
            for connection in multiprocessing.connection.wait(busy):
                assert isinstance(connection, Connection)
                index, data = self._receive(connection, expected, count)
                if index < 0:
                    busy.remove(connection)
                else:
                    waiting[index] = connection, data
            while expected in waiting:
                connection, data = waiting.pop(expected)
                expected += 1
                yield self._unpacked(data)
                connection.send_bytes(b"")

    def _receive(self, connection: Connection, expected: int, count: int) -> tuple[int, bytes]:
        """(Index, packed result) of a finished task; index -1 when a worker has no more to do."""
        try:
            index, failure, data = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError) as error:
            message = f"Task {expected + 1} of {count} was lost: a worker died (killed or out of memory)."
            raise WorkerError(message) from error
        if isinstance(failure, InputError):
            raise failure
        if failure is not None:
            raise WorkerError(failure)
        return index, data

    def _serve(self, connection: Connection, number: int) -> None:
        """A worker's life: take orders until the parent is gone."""
        die_with_parent()
        torch.set_num_threads(1)
        self._values["worker"] = number
        for other in self._connections:
            other.close()
        while True:
            try:
                order = self._unpacked(connection.recv_bytes())
            except EOFError:
                return
            if order[0] == "share":
                self._values[order[1]] = order[2]
                continue
            try:
                self._work(connection, *order[1:])
            except InputError as error:
                connection.send_bytes(pickle.dumps((-1, error, b"")))
            except Exception:  # noqa: BLE001 - whatever it was, the parent raises it
                connection.send_bytes(pickle.dumps((-1, traceback.format_exc(), b"")))

    def _work(self, connection: Connection, task: Callable[..., Any], count: int, names: tuple[str, ...]) -> None:
        values = [self._values[name] for name in names]
        while True:
            with self._counter.get_lock():
                index = self._counter.value
                self._counter.value += 1
            if index >= count:
                connection.send_bytes(pickle.dumps((-1, None, b"")))
                return
            data = self._packed(task(index, *values))
            connection.send_bytes(pickle.dumps((index, None, data)))
            # the result may lie in memory that the next task writes: wait until it was used
            connection.recv_bytes()
