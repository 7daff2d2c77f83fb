"""Starts a stage's supervisor as a process of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class LocalProcess:
    """A supervisor running here."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Exit code of the supervisor, or None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the supervisor to end the stage."""
        self._process.terminate()


class LocalExecutor:
    """Runs attempts on this machine, in a session of their own so that Ctrl-C reaches the command alone."""

    def launch(self, attempt_file: Path) -> LocalProcess:
        """Start the supervisor of ``attempt_file``.

        Raises:
            OSError: the process could not be started.
        """
        with (attempt_file.parent / "supervisor.txt").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "cryorepro.workflow.supervisor", str(attempt_file)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        return LocalProcess(process)
