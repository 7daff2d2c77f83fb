"""The process that watches one attempt of a stage from outside.

    python -m cryorepro.workflow.supervisor ATTEMPT.json

It starts the stage's command, samples its process tree, forwards a request to stop, and leaves ``exit.json``
behind, so that no accounting system is needed and the same program serves a laptop and a batch job. It holds
a lock on the stage's directory for as long as anything of the attempt lives: two attempts never write at once.
Standard library and psutil only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import psutil

from cryorepro.workflow import sandbox
from cryorepro.workflow.files import write_json
from cryorepro.workflow.timeline import residency
from cryorepro.workflow.timeline.tree import Tree

SAMPLE_SECONDS = 0.5
GRACE_SECONDS = 10.0
SAMPLER_GRACE_SECONDS = 3.0
LOCK_WAIT_SECONDS = 30.0


class _Watch:
    """Running maximum and totals over the process tree."""

    def __init__(self, usage: IO[str]) -> None:
        self.peak_memory_bytes = 0
        self._usage = usage
        self._started = time.monotonic()
        self._tree = Tree(os.getpid())

    def leave_out(self, pid: int) -> None:
        """Not the stage's: the sampler."""
        self._tree = Tree(os.getpid(), frozenset({pid}))

    def sample(self) -> None:
        """Add one row of the tree's memory and CPU to the usage file; a full disk costs only the row."""
        use = self._tree.look()
        self.peak_memory_bytes = max(self.peak_memory_bytes, use.memory_bytes)
        row = {
            "seconds": round(time.monotonic() - self._started, 3),
            "memory_bytes": use.memory_bytes,
            "cpu_seconds": round(use.totals["cpu_seconds"], 3),
            "processes": use.processes,
        }
        with contextlib.suppress(OSError):
            self._usage.write(json.dumps(row) + "\n")
            self._usage.flush()


def main(attempt_file: Path) -> int:
    """Run the attempt described in ``attempt_file``; returns the exit code to hand on."""
    attempt = json.loads(attempt_file.read_text())
    if attempt["die_with_parent"]:
        sandbox.signal_when_parent_dies(signal.SIGTERM)
    sandbox.adopt_orphans()
    directory = attempt_file.parent
    with (
        _locked(Path(attempt["lock_file"])),
        (directory / "log.txt").open("ab") as log,
        (directory / "usage.jsonl").open("a") as usage,
    ):
        watch = _Watch(usage)
        _note_cache(attempt, directory)
        sampler = _start_sampler(attempt_file) if attempt.get("sample", True) else None
        if sampler is not None:
            watch.leave_out(sampler.pid)
        report = _supervise(attempt, log, watch, sampler)
    write_json(directory / "exit.json", report)
    return 0 if report["exit_code"] == 0 else 1


@contextlib.contextmanager
def _locked(path: Path) -> Any:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                print(f"{path.parent}: another attempt of this stage is still alive", file=sys.stderr)
                raise SystemExit(75) from None
            time.sleep(0.1)
    os.set_inheritable(descriptor, True)
    try:
        yield
    finally:
        os.close(descriptor)


def _note_cache(attempt: dict[str, Any], directory: Path) -> None:
    """How much of the inputs is in this machine's page cache before the stage begins, dropped first if cold is asked.

    Here and not where the run is led: the stage may run on another machine.
    """
    inputs = [Path(path) for path in attempt.get("inputs", [])]
    if attempt.get("cold"):
        for path in inputs:
            with contextlib.suppress(OSError):
                residency.drop([path])
    with contextlib.suppress(OSError):
        write_json(directory / "cache.json", {"inputs_cached": residency.estimate(inputs)})


def _start_sampler(attempt_file: Path) -> subprocess.Popen[bytes] | None:
    """The sampler runs beside, not inside: a driver that hangs in it delays neither the stage nor its end."""
    command = [sys.executable, "-P", "-m", "cryorepro.workflow.timeline.sampler", str(attempt_file), str(os.getpid())]
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return None  # its absence shows in the samples that are missing


def _stop_sampler(sampler: subprocess.Popen[bytes] | None) -> None:
    """Ask it to write its last line; SIGCONT because one that was stopped hears nothing else."""
    if sampler is None:
        return
    for number in (signal.SIGTERM, signal.SIGCONT):
        with contextlib.suppress(ProcessLookupError):
            sampler.send_signal(number)
    try:
        sampler.wait(timeout=SAMPLER_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        sampler.kill()
        sampler.wait()


def _supervise(
    attempt: dict[str, Any], log: IO[bytes], watch: _Watch, sampler: subprocess.Popen[bytes] | None
) -> dict[str, Any]:
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: stop.append(received))
    started_at, started = time.time(), time.monotonic()
    confined = sandbox.supported() and bool(attempt["deny"])

    def prepare_child() -> None:
        os.setsid()
        sandbox.signal_when_parent_dies(signal.SIGKILL)
        if confined:
            sandbox.deny([Path(path) for path in attempt["deny"]])

    before = _io()
    report: dict[str, Any] = {"signal": None, "stopped": False, "confined": confined}
    try:
        child = subprocess.Popen(
            attempt["argv"],
            cwd=attempt["cwd"],
            env=attempt["environment"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            close_fds=False,
            preexec_fn=prepare_child,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.write(f"cannot start {attempt['argv'][0]}: {error}\n".encode())
        report |= {"exit_code": 127}
    else:
        code = _wait(child, stop, watch)
        report |= {"exit_code": code if code >= 0 else 128 - code, "signal": -code if code < 0 else None}
        _end_leftovers(sampler)
    wall_seconds, ended_at = time.monotonic() - started, time.time()
    # Before the sampler is waited for: what it used is not the stage's.
    usage, after = resource.getrusage(resource.RUSAGE_CHILDREN), _io()
    _stop_sampler(sampler)
    report |= {
        "stopped": bool(stop),
        "started_at": started_at,
        "ended_at": ended_at,
        "wall_seconds": wall_seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_bytes": max(watch.peak_memory_bytes, usage.ru_maxrss * 1024),
        # From and to storage, as the kernel counts them: calls on pipes between workers are no I/O, and what the
        # page cache answers was not read.
        "read_bytes": after.get("read_bytes", 0) - before.get("read_bytes", 0),
        "written_bytes": after.get("write_bytes", 0) - before.get("write_bytes", 0),
    }
    return report


def _wait(child: subprocess.Popen[bytes], stop: list[int], watch: _Watch) -> int:
    asked: float | None = None
    while True:
        watch.sample()
        try:
            return child.wait(timeout=SAMPLE_SECONDS if not stop else 0.1)
        except subprocess.TimeoutExpired:
            pass
        if stop and asked is None:
            asked = time.monotonic()
            _signal_group(child.pid, signal.SIGTERM)
        elif asked is not None and time.monotonic() - asked > GRACE_SECONDS:
            _signal_group(child.pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_leftovers(sampler: subprocess.Popen[bytes] | None) -> None:
    """End and reap what the stage left running, so that the next stage never meets it."""
    spared = sampler.pid if sampler is not None else -1
    for _ in range(50):
        children = [child for child in psutil.Process().children(recursive=True) if child.pid != spared]
        if not children:
            return
        for process in children:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _io() -> dict[str, int]:
    """Bytes read and written by this process and every descendant it has reaped, by the kernel's names."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
