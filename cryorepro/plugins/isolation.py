"""Plugin code in another process, task by task, so that one that crashes, hangs or exits harms only itself.

A worker is a module run with ``python -m`` that calls :func:`serve`. The parent writes all tasks to its
standard input and reads one JSON line for each; it blames an early end on the first task without an answer,
kills what the worker started, and goes on behind that task with a fresh worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cryorepro.plugins.errors import one_line

START_TIMEOUT_S = 60.0
_READY = "ready"


@dataclass(frozen=True)
class Answer:
    """What became of one task; ``value`` means something only when ``error`` is None."""

    value: Any
    error: str | None
    seconds: float


def run_isolated(worker: str, tasks: Sequence[Any], timeout_s: float) -> list[Answer]:
    """Have the worker module handle ``tasks`` (plain JSON) in order, each within ``timeout_s`` seconds."""
    answers: list[Answer] = []
    while len(answers) < len(tasks):
        left = tasks[len(answers) :]
        with _worker(worker, left) as (process, lines):
            for _ in left:
                answer, alive = _next(process, lines, timeout_s)
                answers.append(answer)
                if not alive:
                    break
    return answers


@contextlib.contextmanager
def _worker(module: str, tasks: Sequence[Any]) -> Iterator[tuple[subprocess.Popen[str], queue.SimpleQueue[str]]]:
    # The worker sees the same modules as this process, wherever a caller put them.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part or str(Path.cwd()) for part in sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
        start_new_session=True,
    )
    assert process.stdin and process.stdout
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        with contextlib.suppress(BrokenPipeError):  # a worker that cannot start says so by ending
            process.stdin.write(json.dumps(list(tasks)))
            process.stdin.close()
        with contextlib.suppress(queue.Empty):
            lines.get(timeout=START_TIMEOUT_S)  # its ready line: start-up is no task's time
        yield process, lines
    finally:
        _kill(process)
        reader.join(timeout=5)


def _next(process: subprocess.Popen[str], lines: queue.SimpleQueue[str], timeout_s: float) -> tuple[Answer, bool]:
    start = time.perf_counter()
    try:
        line = lines.get(timeout=timeout_s)
        if line:
            value, error, seconds = json.loads(line)
            return Answer(value, error, seconds), True
        reason = f"ended its process ({_ending(process.wait(timeout_s))})"
    except (queue.Empty, subprocess.TimeoutExpired):
        reason = f"took longer than {timeout_s:g} s"
    except ValueError:
        reason = "spoiled the answer of its process"
    return Answer(None, reason, time.perf_counter() - start), False


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # its own session: this takes what it started too
    process.wait()


def _pump(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    with contextlib.suppress(ValueError, OSError):
        for line in stream:
            lines.put(line)
    for _ in range(2):  # the end, for whoever waits for the ready line and for the first answer
        lines.put("")


def serve(handle: Callable[[Any], Any]) -> None:
    """The worker's side: answer each task with what ``handle`` returns (plain JSON) or raises."""
    # What a plugin prints must not reach the parent's channel.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tasks = json.loads(sys.stdin.read())
    print(json.dumps(_READY), file=channel, flush=True)
    for task in tasks:
        value, error, start = None, None, time.perf_counter()
        try:
            value = handle(task)
            line = json.dumps([value, None, time.perf_counter() - start], allow_nan=False)
        except Exception as raised:  # noqa: BLE001 - the parent is told, whatever it is
            error = one_line(raised)
            line = json.dumps([None, error, time.perf_counter() - start])
        print(line, file=channel, flush=True)
