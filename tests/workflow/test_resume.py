"""Interruptions: whatever ends a run, ``resume`` finishes it with the same outcome and the whole elapsed time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
STEPS = ("--set", "sum.steps=20", "--set", "sum.seconds_per_step=0.1")


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cryorepro", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def the_run(store: Path) -> Path:
    runs = sorted((store / "runs").iterdir())
    return runs[-1]


def is_summing(store: Path) -> bool:
    return any((store / "runs").glob("*/stages/01-sum/state.json"))


def record(cryorepro: Command, run: str) -> dict[str, object]:
    done = cryorepro("show", run, "--json")
    assert done.returncode == 0, done.stderr
    content: dict[str, object] = json.loads(done.stdout)
    return content


def stage_processes(store: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "cryorepro_toy.program" in line and str(store) in line:
            found.append(process)
    return found


def test_twenty_kills_at_random_moments_lead_to_the_same_outcome(cryorepro: Command, toy: Path) -> None:
    """``kill -9`` on the command's whole process group; four kills in each of five runs."""
    draw = random.Random(20261120)
    for _ in range(5):
        process = start("reproduce", "toy", *STEPS)
        kills = 0
        while kills < 4:
            time.sleep(draw.uniform(0.3, 1.6))
            if process.poll() is not None:
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            if not list((toy / "runs").glob("*/events.jsonl")):
                process = start("reproduce", "toy", *STEPS)
                continue
            process = start("resume", "latest")
        out, err = process.communicate(timeout=120)
        # killed before the run had begun to exist: "latest" is nothing, or the run before
        if process.returncode == 2 and ("cannot" in err + out or "is sealed" in err + out):
            process = start("reproduce", "toy", *STEPS)
            out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    for run in sorted((toy / "runs").iterdir()):
        seen = record(cryorepro, run.name)
        if seen["status"] == "completed":
            assert seen["outcomes"]["total"]["value"]["value"] == 4950
            assert seen["stages"]["sum"]["iterations"] == 20
            assert seen["integrity"]["sealed"]
    completed = [r for r in (toy / "runs").iterdir() if (r / "seal.json").exists()]
    assert len(completed) >= 5


@pytest.mark.parametrize("left", ["", '{"seq": 1, "type": "run_cre'])
def test_a_run_killed_before_its_first_event_is_taken_up(cryorepro: Command, toy: Path, left: str) -> None:
    process = start("reproduce", "toy", *STEPS)
    wait_for(lambda: bool(list((toy / "runs").glob("*/events.jsonl"))))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (the_run(toy) / "events.jsonl").write_text(left)
    shown = cryorepro("show", "latest")
    assert shown.returncode == 2 and "before it recorded anything" in shown.stderr, shown.stderr
    assert cryorepro("runs").returncode == 0
    done = cryorepro("resume", "latest")
    assert done.returncode == 0, done.stderr
    settings = record(cryorepro, "latest")["settings"]
    assert isinstance(settings, dict) and settings["tier"] == "twin" and settings["benchmark"] == "toy"


def test_elapsed_time_covers_all_attempts(cryorepro: Command, toy: Path) -> None:
    process = start("reproduce", "toy", *STEPS)
    wait_for(lambda: is_summing(toy))
    time.sleep(1.2)
    killed = datetime.now(UTC)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3.0)  # the pause between attempts is nobody's time
    done = cryorepro("resume")
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in (the_run(toy) / "events.jsonl").read_text().splitlines()]
    starts = [datetime.fromisoformat(event["time"]) for event in events if event["type"] == "attempt_started"]
    ended = next(datetime.fromisoformat(event["time"]) for event in events if event["type"] == "run_ended")
    lived = (killed - starts[0] + (ended - starts[1])).total_seconds()
    elapsed = record(cryorepro, "latest")["elapsed_seconds"]
    assert isinstance(elapsed, float)
    # The last beat before the kill is a second old, or two on a busy machine; judging comes after the last reading.
    assert lived - 2.5 < elapsed < lived + 0.1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_stop_says_how_to_go_on(cryorepro: Command, toy: Path, number: signal.Signals) -> None:
    process = start("reproduce", "toy", *STEPS)
    wait_for(lambda: is_summing(toy))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert f"cryorepro resume {the_run(toy).name}" in out
    assert stage_processes(toy) == []
    done = cryorepro("resume", the_run(toy).name)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = record(cryorepro, "latest")
    assert [attempt["status"] for attempt in seen["attempts"]] == ["interrupted", "completed"]
    assert seen["stages"]["sum"]["attempts"][1]["resumed"] is True


def test_nothing_of_a_killed_run_goes_on_by_itself(toy: Path) -> None:
    process = start("reproduce", "toy", "--set", "sum.steps=50", "--set", "sum.seconds_per_step=0.5")
    wait_for(lambda: is_summing(toy))
    assert stage_processes(toy)
    os.kill(process.pid, signal.SIGKILL)  # the command alone: its group and stage are not told
    process.wait()
    wait_for(lambda: not stage_processes(toy), 15)


def test_a_run_at_work_cannot_be_resumed_beside_it(cryorepro: Command, toy: Path) -> None:
    process = start("reproduce", "toy", *STEPS)
    wait_for(lambda: is_summing(toy))
    done = cryorepro("resume", "latest")
    assert done.returncode == 2
    assert "being written by another process" in done.stderr
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err


def test_a_finished_run_is_not_resumed(cryorepro: Command, toy: Path) -> None:
    assert cryorepro("reproduce", "toy").returncode == 0
    before = (the_run(toy) / "events.jsonl").read_bytes()
    done = cryorepro("resume", "latest")
    assert done.returncode == 2
    assert "sealed" in done.stderr
    assert (the_run(toy) / "events.jsonl").read_bytes() == before


def test_a_changed_output_stops_a_resume(cryorepro: Command, toy: Path) -> None:
    assert cryorepro("reproduce", "toy").returncode == 0
    run = the_run(toy)
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    kept = next(index for index, line in enumerate(lines) if '"stage_outputs"' in line) + 1
    (run / "events.jsonl").write_text("".join(lines[:kept]))  # as a kill right then would have left it
    (run / "seal.json").unlink()
    (run / "stages" / "01-sum" / "result.json").write_text("{}")
    done = cryorepro("resume", "latest")
    assert done.returncode == 6
    assert "changed since it was recorded" in done.stderr


def test_eight_runs_at_once_lose_nothing(cryorepro: Command, toy: Path) -> None:
    processes = [start("reproduce", "toy", "--seed", str(seed)) for seed in range(1, 9)]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
    rows = json.loads(cryorepro("runs", "--json").stdout)
    assert sorted(row["seed"] for row in rows) == list(range(1, 9))
    assert {row["status"] for row in rows} == {"completed"}
    done = cryorepro("db", "rebuild")
    assert done.returncode == 0
    assert json.loads(cryorepro("runs", "--json").stdout) == rows
