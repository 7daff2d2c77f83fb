"""Imports implementations in another process, so that one that crashes, hangs or exits does only itself harm.

``python -m cryorepro.plugins.doctor_import`` reads ``[[kind, name], …]`` from standard input and writes one
JSON line for each, in order: ``[kind, name, error or null]``. The parent blames an early end on the first
entry without a line, and starts again behind it.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

Entry = tuple[str, str]


def try_imports(entries: Sequence[Entry], timeout_s: float) -> dict[Entry, str]:
    """Errors by (kind, name) of implementations that cannot be imported and made within ``timeout_s`` each."""
    failures: dict[Entry, str] = {}
    left = list(entries)
    while left:
        answered, ended = _one_process(left, timeout_s)
        failures.update({entry: error for entry, error in answered if error is not None})
        left = left[len(answered) :]
        if left:
            failures[left.pop(0)] = ended
    return failures


def _one_process(entries: list[Entry], timeout_s: float) -> tuple[list[tuple[Entry, str | None]], str]:
    command = [sys.executable, "-m", "cryorepro.plugins.doctor_import"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as process:
        assert process.stdin and process.stdout
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
        process.stdin.write(json.dumps(entries))
        process.stdin.close()
        answered: list[tuple[Entry, str | None]] = []
        try:
            while len(answered) < len(entries):
                line = lines.get(timeout=timeout_s)
                if not line:
                    return answered, f"importing it ends the process (exit status {process.wait(timeout_s)})"
                kind, name, error = json.loads(line)
                answered.append(((kind, name), error))
        except (queue.Empty, subprocess.TimeoutExpired):
            return answered, f"importing it takes longer than {timeout_s:g} s"
        except ValueError:
            return answered, "importing it spoils the answer of its process"
        finally:
            process.kill()
        return answered, ""


def _pump(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def main() -> None:
    """The other process."""
    # What an implementation prints must not reach the parent's channel.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from cryorepro.plugins.errors import PluginError
    from cryorepro.plugins.implementation import instantiate
    from cryorepro.plugins.loader import load_catalogue

    catalogue = load_catalogue()
    for kind, name in json.loads(sys.stdin.read()):
        error: str | None = None
        try:
            instantiate(catalogue.get(kind, name))
        except PluginError as problem:
            error = str(problem)
        print(json.dumps([kind, name, error]), file=channel, flush=True)


if __name__ == "__main__":
    main()
