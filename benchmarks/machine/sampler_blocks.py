"""What the sampler costs a machine whose every core computes: equal blocks of work with it running and held.

    PYTHONPATH=. python benchmarks/machine/sampler_blocks.py [SECONDS] [PERIOD]

One worker on each core repeats a block of about 50 ms. The sampler, which watches them, is held (SIGSTOP) and let go
(SIGCONT) in turns of three seconds, the order drawn for each pair. Means of the blocks of a turn are compared pair
by pair, so that what slows the machine for a while slows both. Prints one JSON object; above 1 means slower with the
sampler. PERIOD is the sampler's, in seconds: at a tenth of the default its cost is ten times what a run pays.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine.paired import ratios

TURN_S = 3.0
SETTLE_S = 0.1
WORKER = """
import os, sys, time
os.sched_setaffinity(0, [int(sys.argv[1])])
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    began, total = time.monotonic(), 0
    for number in range(600_000):
        total += number * number % 7
    print(began, time.monotonic())
"""


def main(seconds: float, period_s: float) -> None:
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        attempt = Path(name) / "attempt.json"
        attempt.write_text(json.dumps({"inputs": [], "with_root": True, "sample_seconds": period_s}))
        command = [sys.executable, "-m", "cryorepro.workflow.timeline.sampler", str(attempt), str(os.getpid())]
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER, str(core), str(seconds)], stdout=subprocess.PIPE, text=True)
            for core in cores
        ]
        sampler = subprocess.Popen(command)
        turns = _turns(sampler, seconds)
        outputs = [worker.communicate()[0] for worker in workers]
        sampler.send_signal(signal.SIGCONT)
        sampler.terminate()
        sampler.wait()
        samples = [json.loads(line) for line in (Path(name) / "timeline.jsonl").read_text().splitlines()[1:-1]]
    blocks = [tuple(map(float, line.split())) for text in outputs for line in text.splitlines()]
    print(
        json.dumps(
            {"cores": len(cores), "period_s": period_s, "samples": len(samples), **_result(turns, blocks)}, indent=1
        )
    )


def _turns(sampler: subprocess.Popen[bytes], seconds: float) -> list[tuple[bool, float, float]]:
    """Hold and let go until the time is up; whether it ran, begin and end of each turn."""
    time.sleep(1.0)
    draw, turns, end = random.Random(1), [], time.monotonic() + seconds - 2 * TURN_S - 2.0
    while time.monotonic() < end:
        first = draw.random() < 0.5
        for running in (first, not first):
            sampler.send_signal(signal.SIGCONT if running else signal.SIGSTOP)
            began = time.monotonic()
            time.sleep(TURN_S)
            turns.append((running, began + SETTLE_S, time.monotonic()))
    return turns


def _result(turns: list[tuple[bool, float, float]], blocks: list[Any]) -> dict[str, Any]:
    means = []
    for running, began, ended in turns:
        inside = [end - begin for begin, end in blocks if begin >= began and end <= ended]
        means.append((running, statistics.fmean(inside)))
    pairs = [dict(means[place : place + 2]) for place in range(0, len(means) - 1, 2)]
    without = [pair[False] for pair in pairs]
    same = list(zip(without, without[1:], strict=False))
    return {
        "mean_block_with_and_without": ratios([(pair[True], pair[False]) for pair in pairs]),
        "two_turns_without": ratios(same),
    }


if __name__ == "__main__":
    arguments = [float(word) for word in sys.argv[1:]]
    main(arguments[0] if arguments else 200.0, arguments[1] if len(arguments) > 1 else 1.0)
