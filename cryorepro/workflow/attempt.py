"""One supervised process: written down, started through an executor, watched, and its exit read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryorepro.model.stage import StageCommand
from cryorepro.plugins.interfaces import StageExecutor
from cryorepro.workflow.environment import stage_environment
from cryorepro.workflow.files import read_json, write_json

POLL_SECONDS = 0.1
LOG_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Exit:
    """How an attempt ended."""

    exit_code: int
    signal: int | None
    stopped: bool
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    read_bytes: int
    written_bytes: int
    started_at: float
    ended_at: float
    confined: bool


def run_attempt(
    executor: StageExecutor,
    command: StageCommand,
    directory: Path,
    lock_file: Path,
    deny: list[Path],
    should_stop: Callable[[], bool],
    tick: Callable[[], None],
    inputs: Sequence[Path] = (),
    cold: bool = False,
    sample: bool = True,
) -> Exit:
    """Run ``command`` to its end, calling ``tick`` about ten times a second.

    ``inputs`` are files whose place in the page cache is sampled; with ``cold`` they are dropped from it first.
    Without ``sample`` no timeline is taken.

    Raises:
        OSError, StoreError: the attempt could not be written down or started.
    """
    temporary = directory / "tmp"
    temporary.mkdir(parents=True)
    attempt_file = directory / "attempt.json"
    write_json(attempt_file, {
        "argv": command.argv,
        "cwd": str(command.cwd),
        "environment": stage_environment(command.environment, temporary),
        "declared_environment": dict(command.environment),
        "lock_file": str(lock_file),
        "deny": [str(path) for path in deny],
        "die_with_parent": True,
        "inputs": [str(path) for path in inputs],
        "cold": cold,
        "sample": sample,
    })  # fmt: skip
    handle = executor.launch(attempt_file)
    try:
        asked = False
        while (code := handle.poll()) is None:
            if should_stop() and not asked:
                handle.terminate()
                asked = True
            tick()
            time.sleep(POLL_SECONDS)
    except BaseException:
        handle.terminate()
        raise
    return _read_exit(directory, code)


def _read_exit(directory: Path, supervisor_code: int) -> Exit:
    path = directory / "exit.json"
    if not path.is_file():
        # The supervisor itself was killed (out of memory, by hand): nothing of the attempt can be believed.
        signal = -supervisor_code if supervisor_code < 0 else None
        now = time.time()
        return Exit(supervisor_code or 1, signal, False, 0.0, 0.0, 0, 0, 0, now, now, False)
    report: Mapping[str, Any] = read_json(path)
    return Exit(**report)


def log_tail(directory: Path) -> str:
    """The last lines of an attempt's log, with progress bars removed."""
    path = directory / "log.txt"
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.rpartition("\r")[2].strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def last_sentence(directory: Path) -> str:
    """The last line of the log that says something, for a failure message."""
    lines = log_tail(directory).splitlines()
    return lines[-1][:300] if lines else "it printed nothing"
