"""What the sampler costs: the same work with and without it, in turns.

    PYTHONPATH=. python benchmarks/machine/sampler_overhead.py [PAIRS] [SECONDS]

Each turn is one attempt under the supervisor, of a fixed amount of work that takes about SECONDS on an idle core.
Prints one JSON object: ratios of wall and processor time (above 1: slower with the sampler), the same ratio of two
attempts without it (what this machine's noise alone makes of it), and the sampler's own processor time as part of one
core.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine.paired import in_turns, ratios
from cryorepro.workflow.timeline.sampler import FILE
from cryorepro.workflow.timeline.series import read_samples

WORK = "total = 0\nfor number in range({}):\n    total += number * number % 7"
STEPS_PER_SECOND = 12_000_000


def attempt(seconds: float, sample: bool) -> dict[str, Any]:
    """The supervisor's report of one attempt, with the sampler's own share when there was one."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        command = [sys.executable, "-c", WORK.format(int(seconds * STEPS_PER_SECOND))]
        content = {
            "argv": command, "cwd": name, "environment": dict(os.environ), "lock_file": str(directory / "lock"),
            "deny": [], "die_with_parent": False, "sample": sample,
        }  # fmt: skip
        file = directory / "attempt.json"
        file.write_text(json.dumps(content))
        subprocess.run([sys.executable, "-m", "cryorepro.workflow.supervisor", str(file)], check=True)
        report: dict[str, Any] = json.loads((directory / "exit.json").read_text())
        timeline = read_samples(directory / FILE, "work", 1)
        if timeline is not None:
            own, seconds_seen = timeline.known("sampler_cpu_seconds"), timeline.seconds
            report["sampler_share"] = (own[-1] - own[0]) / (seconds_seen[-1] - seconds_seen[0])
            report["sampler_start_seconds"] = own[0]
        return report


def main(pairs: int, seconds: float) -> None:
    reports: dict[bool, list[dict[str, Any]]] = {True: [], False: []}

    def run(sample: bool) -> float:
        reports[sample].append(attempt(seconds, sample))
        return float(reports[sample][-1]["wall_seconds"])

    found: dict[str, Any] = {"wall_seconds": in_turns(lambda: run(True), lambda: run(False), pairs)}
    with_it, without = ([float(report["cpu_seconds"]) for report in reports[side]] for side in (True, False))
    found["cpu_seconds"] = ratios(list(zip(with_it, without, strict=True)))
    again = [
        (attempt(seconds, False)["wall_seconds"], attempt(seconds, False)["wall_seconds"]) for _ in range(pairs // 2)
    ]
    found["wall_seconds_of_two_without"] = ratios(again)
    shares = sorted(report["sampler_share"] for report in reports[True])
    found["sampler"] = {
        "share_of_one_core": {"median": shares[len(shares) // 2], "largest": shares[-1]},
        "processor_seconds_to_start": max(report["sampler_start_seconds"] for report in reports[True]),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    arguments = [float(word) for word in sys.argv[1:]]
    main(int(arguments[0]) if arguments else 10, arguments[1] if len(arguments) > 1 else 8.0)
