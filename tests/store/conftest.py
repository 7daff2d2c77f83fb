"""Disks that can be filled, and stores that cannot be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB. Without the right to mount one, a limit on the size of files is the stand-in."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs here: test_a_full_disk_costs_no_acknowledged_event stands in")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture
def make_read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder and what makes it read-only: by mode, or by mount for root, whom modes do not stop."""
    if os.geteuid() == 0:
        disk: Path = request.getfixturevalue("small_disk")

        def remount() -> None:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        yield disk, remount
        return
    folder = tmp_path / "folder"
    folder.mkdir()

    def set_mode(mode: int) -> None:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(mode if path.is_dir() else mode & 0o666)

    yield folder, lambda: set_mode(0o555)
    folder.chmod(0o755)
    set_mode(0o755)
