"""Time and CPU time of a whole process and of each of its iterations, read from outside, the same for any program.

CPU seconds are user and system time of the process, of its living descendants and of those it has reaped. They are
read when the last file of an iteration appears, and at the end from the kernel's own account of a finished child.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_LOOK_EVERY_SECONDS = 0.02


@dataclass
class Metered:
    """What one process took.

    Attributes:
        wall_seconds, cpu_seconds: of the whole process with everything it started.
        iterations: per finished iteration (its number, seconds and CPU-seconds since the start).
        load_before: one-minute load average when it was started.
        complete: it ended by itself with exit code 0.
        share_of_next: of a run that was stopped, the share it had done of the iteration after the last one here.
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    iterations: list[tuple[int, float, float]] = field(default_factory=list)
    load_before: float = 0.0
    complete: bool = False
    share_of_next: float = 0.0

    def estimated_next(self) -> tuple[int, float] | None:
        """Number and CPU-seconds of an iteration that was not finished, from the share of it that was."""
        if self.complete or self.share_of_next <= 0.0 or not self.iterations:
            return None
        number, _, before = self.iterations[-1]
        return number + 1, (self.cpu_seconds - before) / self.share_of_next

    def per_iteration(self) -> dict[int, tuple[float, float]]:
        """(Seconds, CPU-seconds) of every iteration after the first mark, by its number."""
        pairs = zip(self.iterations, self.iterations[1:], strict=False)
        return {later[0]: (later[1] - sooner[1], later[2] - sooner[2]) for sooner, later in pairs}


def run_metered(
    command: Sequence[str], directory: Path, marks: Mapping[int, Path], environment: Mapping[str, str], log: Path
) -> Metered:
    """Run ``command`` in ``directory``; ``marks`` names the file that ends each iteration (0: ready to start).

    A KeyboardInterrupt ends the process; what was measured so far is returned, not complete.

    Raises:
        RuntimeError: the command failed; the end of its log is quoted.
    """
    found = Metered(load_before=os.getloadavg()[0])
    waiting = {number: path for number, path in sorted(marks.items()) if not path.exists()}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | dict(environment),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # what ends this program's group must not look like a failure of the command
        )
        interrupted = False
        try:
            while process.poll() is None:
                _look(process.pid, waiting, found, started)
                time.sleep(_LOOK_EVERY_SECONDS)
        except KeyboardInterrupt:
            interrupted = True
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    found.wall_seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found.complete = process.returncode == 0
    if found.complete:
        # the last iteration's files appear just before the end, perhaps between two looks
        last = [number for number, path in waiting.items() if path.exists()]
        found.iterations += [(number, found.wall_seconds, found.cpu_seconds) for number in last]
    if process.returncode > 0 and not interrupted:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {log.read_text()[-2000:]}")
    return found


def _look(pid: int, waiting: dict[int, Path], found: Metered, started: float) -> None:
    for number in [number for number, path in waiting.items() if path.exists()]:
        found.iterations.append((number, time.monotonic() - started, _cpu_seconds(pid)))
        del waiting[number]


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process, its living descendants, and what these have reaped."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):
                times = member.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total
