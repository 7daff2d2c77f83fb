"""Trouble made on purpose, and quiet runs: what is flagged, against what was made.

    PYTHONPATH=. python benchmarks/machine/injected_trouble.py [RUNS] [SECONDS] [quiet|trouble]

Quiet runs come first, until RUNS of them were quiet by the independent count of what others used (from /proc/stat, by
psutil), each begun when the machine had been idle for two seconds; those in which others were at work are printed
apart. Control groups of version 1 or 2 are used for the
quota and the memory squeeze where they may be made; where not, that is printed. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from cryorepro.workflow.timeline.perturbed import perturbations
from cryorepro.workflow.timeline.sampler import FILE
from cryorepro.workflow.timeline.series import read_samples

IDLE_PERCENT, QUIET_CORES = 5.0, 0.15
"""What the supervisor, the sampler and the starting of both use is below this."""
PATIENCE_S = 80.0
SPIN = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: pass"
READ_AGAIN = """
import os, time
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    for path in {paths!r}:
        with open(path, 'rb') as stream:
            while stream.read(1 << 20): pass
"""


FEW_BLOCKS = """
import os, time
end = time.monotonic() + {seconds}
with open({path!r}, 'rb', buffering=0) as stream:
    while time.monotonic() < end and stream.read(1 << 18): pass
"""


def run(
    program: str,
    inputs: list[Path] | None = None,
    cold: bool = False,
    group: str | None = None,
    to_sampler: signal.Signals | None = None,
) -> dict[str, Any]:
    """One supervised attempt and its flags; in a control group when one is named, its sampler sent a signal."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        content = {
            "argv": [sys.executable, "-c", program], "cwd": name, "environment": dict(os.environ),
            "lock_file": str(directory / "lock"), "deny": [], "die_with_parent": False,
            "inputs": [str(path) for path in inputs or []], "cold": cold,
        }  # fmt: skip
        file = directory / "attempt.json"
        file.write_text(json.dumps(content))
        command = [sys.executable, "-m", "cryorepro.workflow.supervisor", str(file)]
        if group is not None:
            command = ["sh", "-c", f'echo $$ > {group} && exec "$@"', "sh", *command]
        before, began = busy(), time.monotonic()
        supervisor = subprocess.Popen(command)
        if to_sampler is not None:
            time.sleep(2.0)
            sampler = next(
                child for child in psutil.Process(supervisor.pid).children() if "sampler" in str(child.cmdline())
            )
            sampler.send_signal(to_sampler)
        if supervisor.wait() != 0:
            raise RuntimeError("the supervisor failed")
        others = (busy() - before) / (time.monotonic() - began)
        report = json.loads((directory / "exit.json").read_text())
        timeline = read_samples(directory / FILE, "work", 1)
        cached = json.loads((directory / "cache.json").read_text())["inputs_cached"]
        flags = perturbations(timeline, report["wall_seconds"], cold, cached)
        return {
            "flags": [f"{flag.reason}: {flag.detail}" for flag in flags],
            "all_cores_used_by_independent_count": round(others, 2),
            "stage_cores": round(report["cpu_seconds"] / report["wall_seconds"], 2),
        }


def busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


@contextlib.contextmanager
def hogs(seconds: float, count: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", SPIN.format(seconds)]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


@contextlib.contextmanager
def group(controller: str, settings: dict[str, str]) -> Iterator[str]:
    """The file that takes processes into a new control group of version 1 with ``settings``."""
    path = Path(f"/sys/fs/cgroup/{controller}/cryorepro-benchmark-{os.getpid()}")
    path.mkdir()
    try:
        for name, value in settings.items():
            (path / name).write_text(value)
        yield str(path / "cgroup.procs")
    finally:
        path.rmdir()


def main(runs: int, seconds: float, part: str) -> None:
    found: dict[str, Any] = quiet_runs(runs, seconds) if part != "trouble" else {}
    if part != "quiet":
        found |= troubles(seconds)
    print(json.dumps(found, indent=1))


def quiet_runs(runs: int, seconds: float) -> dict[str, Any]:
    """Runs of one busy core with nobody else at work, and those in which somebody was."""
    quiet: list[dict[str, Any]] = []
    disturbed: list[dict[str, Any]] = []
    end = time.monotonic() + PATIENCE_S
    while len(quiet) < runs and time.monotonic() < end:
        while psutil.cpu_percent(2.0) > IDLE_PERCENT and time.monotonic() < end:
            pass
        result = run(SPIN.format(seconds))
        others = result["all_cores_used_by_independent_count"] - result["stage_cores"]
        (quiet if others < QUIET_CORES else disturbed).append(result)
    return {"quiet": quiet, "others were at work": disturbed}


def troubles(seconds: float) -> dict[str, Any]:
    """One run under each trouble."""
    found: dict[str, Any] = {}
    with hogs(seconds + 5, len(os.sched_getaffinity(0))):
        found["hog"] = run(SPIN.format(seconds))
    with tempfile.NamedTemporaryFile(suffix=".mrcs") as data:
        data.write(os.urandom(400 << 20))
        data.flush()
        path = Path(data.name)
        reading = READ_AGAIN.format(seconds=seconds, paths=[data.name])
        found["cold asked and given"] = run(reading, [path], cold=True)
        with path.open("rb") as stream, contextlib.suppress(OSError):
            import mmap

            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as pages:
                pages[::4096]  # mapped pages stay when the kernel is asked to drop them
                found["cold asked, pages held by another"] = run(reading, [path], cold=True)
        device = path.stat().st_dev
        slow = {"blkio.throttle.read_bps_device": f"{os.major(device)}:{os.minor(device)} 2097152"}
        for label, controller, settings in (
            ("slow disk", "blkio", slow),
            ("quota", "cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "10000"}),
            ("memory squeeze", "memory", {"memory.limit_in_bytes": str(100 << 20)}),
        ):
            mapped = f"import mmap, time\nf = open({data.name!r}, 'rb')\nm = mmap.mmap(f.fileno(), 0, access=1)\n"
            mapped += f"end = time.monotonic() + {seconds}\nwhile time.monotonic() < end: m[::4096]"
            try:
                with group(controller, settings) as file:
                    if label == "quota":
                        found[label] = run(SPIN.format(seconds), group=file)
                    elif label == "slow disk":
                        found[label] = run(FEW_BLOCKS.format(seconds=seconds, path=data.name), [path], True, file)
                    else:  # cold: pages are charged to the group that brings them in
                        found[label] = run(mapped, [path], cold=True, group=file)
            except OSError as error:
                found[label] = f"no control group may be made here ({error.strerror})"
    for label, number in (("sampler stopped", signal.SIGSTOP), ("sampler killed", signal.SIGKILL)):
        found[label] = run(SPIN.format(seconds), to_sampler=number)
    return found


if __name__ == "__main__":
    words = dict(enumerate(sys.argv))
    main(int(words.get(1, "10")), float(words.get(2, "8")), words.get(3, "all"))
