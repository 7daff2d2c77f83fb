"""The process that samples the machine while a stage runs.

    python -m cryorepro.workflow.timeline.sampler ATTEMPT.json SUPERVISOR_PID

It writes ``timeline.jsonl`` beside the attempt: a header, one array a second, and a last line when it was asked to
end. A sampler that is killed or stopped leaves a gap or no last line, and that is judged like everything else.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cryorepro.workflow.sandbox import signal_when_parent_dies
from cryorepro.workflow.timeline.columns import COLUMNS, GPU_COLUMNS, PERIOD_S, VERSION
from cryorepro.workflow.timeline.gpus import Gpus
from cryorepro.workflow.timeline.kernel import Counters, Machine
from cryorepro.workflow.timeline.residency import estimate
from cryorepro.workflow.timeline.tree import Tree

RESIDENCY_EVERY_S = 30.0
FILE = "timeline.jsonl"


class Sampler:
    """Takes samples of everything below the process ``root``, itself excluded."""

    def __init__(self, root: int, inputs: list[Path], with_root: bool = False) -> None:
        self._tree = Tree(root, frozenset({os.getpid()}), with_root)
        self._machine = Machine()
        self._gpus = Gpus()
        self._inputs = inputs
        self._started = time.monotonic()
        self._looked_at_inputs = -math.inf
        self._before: tuple[float, Counters] | None = None

    def header(self, period_s: float) -> dict[str, Any]:
        """What the rows mean."""
        return {
            "version": VERSION,
            "started_at": time.time(),
            "period_s": period_s,
            "cores": len(self._machine.cores),
            "columns": list(COLUMNS),
            "gpu_columns": list(GPU_COLUMNS),
            "gpus": self._gpus.names,
        }

    def row(self) -> list[Any]:
        """One sample, in the order of COLUMNS, and the cards' rows behind it."""
        use = self._tree.look()
        counters = {**self._machine.counters(), **use.totals, "own": time.process_time()}
        now = time.monotonic()
        found = {**self._machine.levels(), **self._rates(now, counters)}
        found |= {
            "seconds": now - self._started,
            "stage_memory_bytes": float(use.memory_bytes),
            "stage_processes": float(use.processes),
            "stage_threads": float(use.threads),
            "stage_blocked": float(use.blocked),
            "inputs_cached": self._residency(now),
            "sampler_cpu_seconds": time.process_time(),
        }
        self._before = (now, counters)
        values = [_short(found.get(name)) for name in COLUMNS]
        return [*values, [[_short(value) for value in gpu] for gpu in self._gpus.look(use.pids)]]

    def _rates(self, now: float, counters: Counters) -> Counters:
        if self._before is None:
            return {}
        then, before = self._before
        seconds = max(now - then, 1e-6)
        rate: Counters = {}
        for name, value in counters.items():
            old = before.get(name)
            rate[name] = None if value is None or old is None or value < old else (value - old) / seconds
        busy, stage, own = (rate.get(name) or 0.0 for name in ("busy", "cpu_seconds", "own"))
        rate["stage_cores"] = stage
        rate["other_cores"] = max(0.0, busy - stage - own)
        rate["stolen_cores"], rate["io_wait_cores"] = rate["stolen"], rate["waited"]
        rate["package_watts"] = rate["package_joules"]
        return rate

    def _residency(self, now: float) -> float | None:
        if not self._inputs or now - self._looked_at_inputs < RESIDENCY_EVERY_S:
            return None
        self._looked_at_inputs = now
        try:
            return estimate(self._inputs)
        except OSError:
            return None


def main(attempt_file: Path, root: int) -> int:
    """Sample until told to end or the supervisor is gone."""
    signal_when_parent_dies(signal.SIGKILL)
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: ending.append(received))
    attempt = json.loads(attempt_file.read_text())
    sampler = Sampler(root, [Path(path) for path in attempt.get("inputs", [])], attempt.get("with_root", False))
    period_s = float(attempt.get("sample_seconds", PERIOD_S))
    with (attempt_file.parent / FILE).open("w") as out:
        out.write(json.dumps(sampler.header(period_s)) + "\n")
        due = time.monotonic()
        while not ending:
            out.write(json.dumps(sampler.row(), separators=(",", ":")) + "\n")
            out.flush()
            due = max(due + period_s, time.monotonic())
            _sleep_until(due, ending)
        out.write(json.dumps(sampler.row(), separators=(",", ":")) + "\n")
        out.write(json.dumps({"ended_at": time.time()}) + "\n")
    return 0


def _sleep_until(due: float, ending: list[int]) -> None:
    """Sleep until ``due``; a request to end is taken at once, where time.sleep would sleep on behind its handler."""
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        remaining = due - time.monotonic()
        received = signal.sigtimedwait(signals, max(0.0, remaining)) if not ending else None
        # Stopped and continued past the time, CPython 3.11 gives a siginfo nobody sent instead of None.
        if received is not None and received.si_signo in signals:
            ending.append(received.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _short(value: Any) -> Any:
    """Numbers with six significant digits: a row stays near 200 bytes."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else float(f"{value:.6g}")


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2])))
