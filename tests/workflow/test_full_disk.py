"""A disk that fills up, or turns read-only: one sentence, nothing lost, and the run goes on when there is room."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def small_disk(toy: Path) -> Iterator[Path]:
    """The store on a file system of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    toy.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(toy)], check=True)
    yield toy
    subprocess.run(["umount", "-l", str(toy)], check=True)


def fill(store: Path, leave_bytes: int) -> Path:
    space = os.statvfs(store)
    ballast = store / "ballast"
    ballast.write_bytes(b"\0" * (space.f_bavail * space.f_frsize - leave_bytes))
    return ballast


@pytest.mark.parametrize("leave_bytes", [0, 12_288, 40_960, 65_536])
def test_a_full_disk_stops_the_run_and_room_lets_it_finish(
    cryorepro: Command, small_disk: Path, leave_bytes: int
) -> None:
    assert cryorepro("reproduce", "toy").returncode == 0  # makes the twin and the index
    before = json.loads(cryorepro("runs", "--json").stdout)
    ballast = fill(small_disk, leave_bytes)
    done = cryorepro("reproduce", "toy", "--seed", "2")
    assert done.returncode in (2, 6), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    ballast.unlink()
    rows = json.loads(cryorepro("runs", "--json").stdout)
    assert [row for row in rows if row["seed"] == 1] == before
    second = [row for row in rows if row["seed"] == 2]
    if second and second[0]["status"] not in ("completed", "failed"):
        resumed = cryorepro("resume", second[0]["run_uid"])
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert cryorepro("reproduce", "toy", "--seed", "3").returncode == 0


def test_a_read_only_store_can_be_read_and_refuses_runs(cryorepro: Command, small_disk: Path) -> None:
    assert cryorepro("reproduce", "toy").returncode == 0
    before = cryorepro("show", "latest", "--json").stdout
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = cryorepro("reproduce", "toy")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ead-only" in done.stderr
    assert cryorepro("show", "latest", "--json").stdout == before
    assert cryorepro("runs").returncode == 0
