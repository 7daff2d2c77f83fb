"""The sampler beside a real process: what it reads is what other means read, and trouble made on purpose is seen.

The machine these tests run on may be busy: they assert that what was made is seen, and that what is told of others
is what an independent count says, never that nobody else was there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cryorepro.workflow.timeline.perturbed import perturbations
from cryorepro.workflow.timeline.residency import drop, estimate, exact
from cryorepro.workflow.timeline.sampler import FILE
from cryorepro.workflow.timeline.series import Timeline, read_samples
from cryorepro.workflow.timeline.tree import Tree, descendants

SPIN = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


def start(
    directory: Path, program: str, inputs: list[Path] | None = None, period: float = 0.2, cold: bool = False
) -> subprocess.Popen[bytes]:
    directory.mkdir(exist_ok=True)
    attempt = {
        "argv": [sys.executable, "-c", program], "cwd": str(directory), "environment": dict(os.environ),
        "lock_file": str(directory / "lock"), "deny": [], "die_with_parent": False,
        "inputs": [str(path) for path in inputs or []], "sample_seconds": period, "cold": cold,
    }  # fmt: skip
    (directory / "attempt.json").write_text(json.dumps(attempt))
    command = [sys.executable, "-m", "cryorepro.workflow.supervisor", str(directory / "attempt.json")]
    return subprocess.Popen(command)


def finish(process: subprocess.Popen[bytes], directory: Path) -> tuple[Timeline, dict[str, float]]:
    assert process.wait(timeout=60) == 0
    timeline = read_samples(directory / FILE, "s", 1)
    assert timeline is not None
    report: dict[str, float] = json.loads((directory / "exit.json").read_text())
    return timeline, report


def sampler_of(supervisor: subprocess.Popen[bytes]) -> psutil.Process:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for child in psutil.Process(supervisor.pid).children():
            if "sampler" in " ".join(child.cmdline()):
                return child
        time.sleep(0.02)
    raise AssertionError("the supervisor started no sampler")


def test_processor_time_agrees_with_the_kernels_own_sum_and_the_samplers_own_is_not_in_it(tmp_path: Path) -> None:
    timeline, report = finish(start(tmp_path, SPIN.format(3)), tmp_path)
    seconds = timeline.seconds
    cores = timeline.columns["stage_cores"]
    used = sum((cores[i] or 0.0) * (seconds[i] - seconds[i - 1]) for i in range(1, len(seconds)))
    assert used == pytest.approx(report["cpu_seconds"], abs=0.5), "what is missed is less than two periods"
    assert max(timeline.known("stage_processes")) == 1
    assert max(timeline.known("stage_memory_bytes")) > 5e6
    assert timeline.ended


def test_what_others_use_agrees_with_an_independent_count(tmp_path: Path) -> None:
    def busy() -> float:
        times = psutil.cpu_times()
        return float(times.user + times.nice + times.system + times.irq + times.softirq)

    process = start(tmp_path, "import time; time.sleep(4)")
    sampler_of(process)
    began, before = time.monotonic(), busy()
    time.sleep(3)
    independent = (busy() - before) / (time.monotonic() - began)
    timeline, _ = finish(process, tmp_path)
    assert timeline.mean("other_cores") == pytest.approx(independent, abs=0.35)
    accused = "co-tenants" in [flag.reason for flag in perturbations(timeline, timeline.seconds[-1])]
    if independent > 0.8 or independent < 0.1:
        assert accused == (independent > 0.8), f"others used {independent:.2f} cores"


def test_a_processor_hog_is_seen(tmp_path: Path) -> None:
    process = start(tmp_path, "import time; time.sleep(4)")
    hogs = [subprocess.Popen([sys.executable, "-c", SPIN.format(5)]) for _ in os.sched_getaffinity(0)]
    timeline, report = finish(process, tmp_path)
    for hog in hogs:
        hog.kill()
        hog.wait()
    assert "co-tenants" in [flag.reason for flag in perturbations(timeline, report["wall_seconds"])]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_sampler_that_is_stopped_or_killed_is_seen_and_harms_nothing(tmp_path: Path, how: signal.Signals) -> None:
    process = start(tmp_path, "import time; time.sleep(4)")
    sampler = sampler_of(process)
    deadline = time.monotonic() + 10
    while not (tmp_path / FILE).exists() or len((tmp_path / FILE).read_text().splitlines()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sampler.send_signal(how)
    timeline, report = finish(process, tmp_path)
    assert report["exit_code"] == 0
    assert "sampler-stopped" in [flag.reason for flag in perturbations(timeline, report["wall_seconds"])]


def test_a_sampler_that_was_held_for_a_while_goes_on_and_the_gap_is_seen(tmp_path: Path) -> None:
    process = start(tmp_path, "import time; time.sleep(6)")
    sampler = sampler_of(process)
    time.sleep(1)
    sampler.suspend()
    time.sleep(2)
    sampler.resume()
    timeline, report = finish(process, tmp_path)
    assert timeline.ended
    assert timeline.seconds[-1] > report["wall_seconds"] - 1.5, "it samples to the end"
    (flag,) = [one for one in perturbations(timeline, report["wall_seconds"]) if one.reason == "sampler-stopped"]
    assert "no sample for" in flag.detail


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "particles.mrcs"
    path.write_bytes(os.urandom(8 << 20))
    path.read_bytes()
    return path


def cached_at_start(directory: Path) -> float:
    return float(json.loads((directory / "cache.json").read_text())["inputs_cached"])


def test_the_page_cache_is_told_and_emptied(data: Path) -> None:
    assert exact(data) == estimate([data]) == 1.0
    drop([data])
    assert exact(data) == 0.0, "this filesystem drops pages when asked"
    with data.open("rb", buffering=0) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        stream.read(2 << 20)
    assert exact(data) == pytest.approx(0.25, abs=0.02)
    assert estimate([data]) == pytest.approx(0.25, abs=0.15)


def test_a_warm_cache_is_told_before_the_stage_and_a_cold_one_is_made(tmp_path: Path, data: Path) -> None:
    finish(start(tmp_path / "warm", "import time; time.sleep(1)", [data]), tmp_path / "warm")
    assert cached_at_start(tmp_path / "warm") == 1.0
    reading = f"import time; open({str(data)!r}, 'rb').read(); time.sleep(1)"
    timeline, report = finish(start(tmp_path / "cold", reading, [data], cold=True), tmp_path / "cold")
    cached = cached_at_start(tmp_path / "cold")
    assert cached == 0.0
    words = [flag.reason for flag in perturbations(timeline, report["wall_seconds"], True, cached)]
    assert "warm-cache" not in words
    assert exact(data) == 1.0, "the stage warmed it"


def test_the_tree_is_psutils_and_leaves_out_what_it_is_told_to() -> None:
    nested = "import subprocess, sys, time\nsubprocess.Popen(['sleep', '20'])\nprint(flush=True)\ntime.sleep(20)"
    child = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        found = set(descendants(os.getpid()))
        family = {process.pid for process in psutil.Process(child.pid).children(recursive=True)} | {child.pid}
        assert len(family) == 2
        assert family <= found
        assert not family & set(descendants(os.getpid(), frozenset({child.pid})))
        use = Tree(child.pid).look()
        assert use.pids == family - {child.pid}
    finally:
        for process in [*psutil.Process(child.pid).children(recursive=True), psutil.Process(child.pid)]:
            process.kill()
        child.wait()


def test_the_sampler_uses_less_than_a_hundredth_of_a_core(tmp_path: Path) -> None:
    timeline, _ = finish(start(tmp_path, "import time; time.sleep(6)", period=1.0), tmp_path)
    own = timeline.known("sampler_cpu_seconds")
    assert (own[-1] - own[0]) / (timeline.seconds[-1] - timeline.seconds[0]) < 0.01
    assert (tmp_path / FILE).stat().st_size < 4000, "a row is near 200 bytes"


def test_workers_that_live_for_less_than_a_look_are_counted() -> None:
    """A parent that forks short workers and waits for each; the tree is looked at only before and after."""
    program = (
        "import os, sys, time\n"
        "def burn():\n"
        "    end = time.process_time() + 0.05\n"
        "    while time.process_time() < end: pass\n"
        "for _ in range(12):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        burn(); os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "times = os.times()\n"
        "print(times.user + times.system + times.children_user + times.children_system, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        tree = Tree(child.pid, with_root=True)
        tree.look()
        assert child.stdout is not None
        used = float(child.stdout.readline())
        counted = tree.look().totals["cpu_seconds"]
        child.communicate("")
    assert used > 0.55
    assert counted == pytest.approx(used, abs=0.05)
