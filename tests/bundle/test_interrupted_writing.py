"""A bundle has its name only when it is whole: killed writers, full disks, two writers at once."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryorepro.bundle.zipwrite import write_archive
from cryorepro.em.errors import InputError
from tests.bundle.conftest import command

WRITE = (
    "import sys; from pathlib import Path; from cryorepro.bundle.zipwrite import write_archive;"
    "write_archive(Path(sys.argv[1]), {'README.md': b'r', 'm': Path(sys.argv[2])})"
)


def test_a_killed_writer_leaves_no_bundle_and_the_next_one_writes_it(tmp_path: Path) -> None:
    large, target = tmp_path / "m", tmp_path / "paper.zip"
    large.write_bytes(bytes(200_000_000))
    with subprocess.Popen([sys.executable, "-c", WRITE, str(target), str(large)]) as writer:
        until = time.monotonic() + 60
        while not list(tmp_path.glob(".paper.zip.*.part")) and time.monotonic() < until:
            assert not target.exists()
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL, "it was done before it could be killed"
    assert not target.exists()
    write_archive(target, {"README.md": b"r"})
    assert target.stat().st_size > 0


def test_a_full_disk_is_one_sentence_that_names_the_file_and_nothing_is_left(
    toy_environment: dict[str, str], toy_bundle: Path, tmp_path: Path
) -> None:
    del toy_bundle
    code = (
        "import resource, sys; from cryorepro.cli.main import run; resource.setrlimit(resource.RLIMIT_FSIZE, (65536,"
        f" {resource.RLIM_INFINITY})); sys.argv = ['cryorepro', 'export', 'latest', '-o', 'paper.zip']; run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=toy_environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "paper.zip: cannot be written" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_sentence(
    toy_environment: dict[str, str], toy_bundle: Path, tmp_path: Path
) -> None:
    del toy_bundle
    done = command(toy_environment, "export", "latest", "-o", str(tmp_path / "nowhere" / "paper.zip"))
    assert done.returncode == 2
    assert "nowhere/paper.zip: cannot be written (No such file or directory)" in done.stderr


def test_a_name_that_was_taken_meanwhile_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, link = tmp_path / "paper.zip", os.link

    def other_first(source: Path, destination: Path) -> None:
        destination.write_bytes(b"another's")
        link(source, destination)

    monkeypatch.setattr(os, "link", other_first)
    with pytest.raises(InputError, match="exists already"):
        write_archive(target, {"README.md": b"r"})
    assert [path.name for path in tmp_path.iterdir()] == ["paper.zip"] and target.read_bytes() == b"another's"


def test_a_disk_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, destination: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "paper.zip"
    write_archive(target, {"README.md": b"r"})
    with pytest.raises(InputError, match="exists already"):
        write_archive(target, {"README.md": b"s"})
    assert [path.name for path in tmp_path.iterdir()] == ["paper.zip"] and b"README.md" in target.read_bytes()
