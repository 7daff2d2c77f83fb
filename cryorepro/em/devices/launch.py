"""Several processes of one program on this machine, as torchrun starts them, ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from cryorepro.em.devices.rendezvous import Place

_LOOK_EVERY_SECONDS = 0.05
_GRACE_SECONDS = 5.0
_SETTLING_SECONDS = 0.5
_BAD_INPUT = 2
LAUNCHED = "CRYOREPRO_LAUNCHED"
"""Set in the environment of processes started here: they end with the process that started them."""
_LOOPBACK = "127.0.0.1"


def launch(command: Sequence[str], count: int) -> int:
    """Run ``count`` copies of ``command``, each told its place; 0, or the exit code of the one that failed.

    Process 0 writes to this process's output; what others print is dropped. At the end the errors of the process that
    failed are passed on, or those of process 0. When one fails, or this process is ended, the others are ended too.
    """
    address, port = _LOOPBACK, _free_port()
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as quiet:
        errors = [tempfile.TemporaryFile() for _ in range(count)]  # noqa: SIM115 - closed below, all together
        previous = signal.signal(signal.SIGTERM, _leave)
        try:
            for rank in range(count):
                place = Place(rank, count, rank, count, address, port)
                started.append(_start(command, place, None if rank == 0 else quiet, errors[rank]))
            failed = _cause(started) if _one_failed(started) else 0
            _pass_on(errors[failed])
            code = started[failed].returncode or 0
            return 128 - code if code < 0 else code
        finally:
            _end(started)
            for stream in errors:
                stream.close()
            signal.signal(signal.SIGTERM, previous)


def _start(
    command: Sequence[str], place: Place, output: IO[bytes] | None, errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    # gloo asks the host's name for an address, which need not be one: on one machine the loopback device serves
    local = {"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"), LAUNCHED: "1"}
    environment = os.environ | place.environment() | local
    return subprocess.Popen(list(command), env=environment, stdout=output, stderr=errors)


def _one_failed(started: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Wait until all have ended well (False) or one has not."""
    while any(process.poll() is None for process in started):
        if any(process.returncode for process in started):
            return True
        time.sleep(_LOOK_EVERY_SECONDS)
    return any(process.returncode for process in started)


def _cause(started: Sequence[subprocess.Popen[bytes]]) -> int:
    """Which failure made the others fail: bad input, else a kill, else the first (its peers lose their connection)."""
    time.sleep(_SETTLING_SECONDS)
    codes = {rank: process.poll() for rank, process in enumerate(started)}
    failed = [rank for rank, code in codes.items() if code]
    return min(failed, key=lambda rank: (codes[rank] != _BAD_INPUT, (codes[rank] or 0) > 0, rank))


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        if process.poll() is None:
            process.terminate()
    limit = time.monotonic() + _GRACE_SECONDS
    for process in started:
        try:
            process.wait(max(0.0, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pass_on(errors: IO[bytes]) -> None:
    errors.seek(0)
    sys.stderr.write(errors.read().decode(errors="replace"))
    sys.stderr.flush()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _leave(_signal: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)
