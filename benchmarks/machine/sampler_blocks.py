"""What the sampler costs a machine whose every core computes: equal blocks of work with it running and held.

    PYTHONPATH=. python benchmarks/machine/sampler_blocks.py [SECONDS] [PERIOD]

One worker on each core repeats a block of about 50 ms. The sampler, which watches them, is held (SIGSTOP) and let go
(SIGCONT) in turns of three seconds, the order drawn for each pair. Means of the blocks of a turn, of wall and of
processor time, are compared pair by pair, so that what slows the machine for a while slows both. Prints one JSON
object; above 1 means slower with the sampler. PERIOD is the sampler's, in seconds: at a tenth of the default its cost
is ten times what a run pays.
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
FEWEST_BLOCKS = 5
WORKER = """
import os, sys, time
os.sched_setaffinity(0, [int(sys.argv[1])])
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    began, used, total = time.monotonic(), time.process_time(), 0
    for number in range(600_000):
        total += number * number % 7
    print(began, time.monotonic(), time.process_time() - used)
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
    found: dict[str, list[tuple[float, float]]] = {
        "wall_with_and_without": [],
        "cpu_with_and_without": [],
        "wall_of_two_without": [],
        "cpu_of_two_without": [],
    }
    means = [_means(blocks, began, ended) for _, began, ended in turns]
    held: list[tuple[float, float]] = []
    for place in range(0, len(turns) - 1, 2):
        pair = {turns[place + step][0]: means[place + step] for step in (0, 1)}
        running, without = pair[True], pair[False]
        if running is None or without is None:
            continue
        found["wall_with_and_without"].append((running[0], without[0]))
        found["cpu_with_and_without"].append((running[1], without[1]))
        held.append(without)
    for one, other in zip(held, held[1:], strict=False):
        found["wall_of_two_without"].append((one[0], other[0]))
        found["cpu_of_two_without"].append((one[1], other[1]))
    return {name: ratios(pairs) for name, pairs in found.items()}


def _means(blocks: list[Any], began: float, ended: float) -> tuple[float, float] | None:
    """Mean wall and processor time of the blocks of one turn; None when the machine stood still in it."""
    inside = [(end - begin, used) for begin, end, used in blocks if begin >= began and end <= ended]
    if len(inside) < FEWEST_BLOCKS:
        return None
    return statistics.fmean(wall for wall, _ in inside), statistics.fmean(used for _, used in inside)


if __name__ == "__main__":
    arguments = [float(word) for word in sys.argv[1:]]
    main(arguments[0] if arguments else 200.0, arguments[1] if len(arguments) > 1 else 1.0)
