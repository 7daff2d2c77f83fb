"""What every step of one attempt at a run shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryorepro.model.stage import FailureClass, StageCommand, StageFailure
from cryorepro.plugins.catalogue import Catalogue
from cryorepro.plugins.interfaces import StageExecutor
from cryorepro.store.home import Home
from cryorepro.store.journal import Journal
from cryorepro.workflow.attempt import Exit, last_sentence, run_attempt
from cryorepro.workflow.elapsed import Stopwatch
from cryorepro.workflow.files import read_json, write_json
from cryorepro.workflow.history import History
from cryorepro.workflow.plan import RunPlan
from cryorepro.workflow.rundir import RunDirectory

_ALMOST_NOTHING_BYTES = 65_536

Listener = Callable[[str, dict[str, Any]], None]


class Interrupted(Exception):
    """The person, or the system, asked the run to stop; it can be resumed."""


@dataclass
class Context:
    """One attempt: where it writes, what it knows, whom it tells. ``stopping`` may be set by a signal handler."""

    home: Home
    catalogue: Catalogue
    plan: RunPlan
    directory: RunDirectory
    journal: Journal
    history: History
    listener: Listener
    executor: StageExecutor
    watch: Stopwatch
    stopping: bool = field(default=False)

    def say(self, kind: str, /, **content: Any) -> None:
        """Tell the listener; nothing is recorded."""
        self.listener(kind, content)

    def helper(self, module: str, job: dict[str, Any]) -> Any:
        """Run one of this package's own heavy steps as a supervised process and read its result.

        Raises:
            Interrupted: asked to stop.
            StageFailure: the step left no result.
        """
        number = 1 + sum(1 for _ in (self.directory.root / "attempts").glob(f"{module}-*"))
        directory = self.directory.attempt(module, number)
        directory.mkdir()
        result = directory / "result.json"
        write_json(directory / "job.json", {**job, "result": str(result)})
        command = StageCommand(
            argv=[sys.executable, "-P", "-m", f"cryorepro.workflow.{module}", str(directory / "job.json")],
            environment={"OMP_NUM_THREADS": str(self.plan.options.threads)},
            cwd=directory,
        )
        finished = self.supervise(module, command, directory, [], self.watch.beat, sample=False)
        if self.stopping and finished.exit_code != 0:
            raise Interrupted
        if not result.is_file():
            raise StageFailure(*classify(finished, f"{module}: {last_sentence(directory)}", directory))
        return read_json(result)

    def supervise(
        self,
        name: str,
        command: StageCommand,
        directory: Path,
        deny: list[Path],
        tick: Callable[[], None],
        inputs: Sequence[Path] = (),
        cold: bool = False,
        sample: bool = True,
    ) -> Exit:
        """Run ``command`` through the executor until it ends."""
        lock = self.directory.lock(name)
        return run_attempt(
            self.executor, command, directory, lock, deny, lambda: self.stopping, tick, inputs, cold, sample
        )


def classify(finished: Exit, sentence: str, directory: Path) -> tuple[FailureClass, str]:
    """What kind of failure an exit is: signals are the machine's doing, exit code 2 is the input's.

    ``directory`` tells whether the disk is full, which programs report in their own words or not at all.
    """
    if "No space left" in sentence or _is_full(directory):
        return "resource", f"No space left on device; last words: {sentence}"
    if finished.signal == 9:
        return "resource", f"killed by signal 9 (out of memory, or by hand); last words: {sentence}"
    if finished.signal is not None:
        return "runtime", f"ended by signal {finished.signal}; last words: {sentence}"
    if finished.exit_code == 2:
        return "data", sentence
    if finished.exit_code == 127:
        return "setup", sentence
    return "runtime", f"exit code {finished.exit_code}: {sentence}"


def _is_full(directory: Path) -> bool:
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize < _ALMOST_NOTHING_BYTES
