"""A run's files after a crash before every single system call that changes them, one after the other."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryorepro.store.errors import StoreError
from cryorepro.store.journal import Journal, read_events
from cryorepro.store.seal import reopen_run, seal_run, verify_run

CALLS = ("open", "write", "fsync", "ftruncate", "replace", "rename", "mkdir", "close")


def die_before(number: int) -> None:
    """Make this process kill itself before its ``number``-th system call of those in ``CALLS``."""
    left = [number]

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))


def crash_at(number: int, work: Callable[[], None]) -> bool:
    """Whether ``work``, in a process of its own, was killed before its ``number``-th call."""
    child = os.fork()
    if child == 0:
        try:
            die_before(number)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def whole_life(directory: Path, acknowledged: int) -> None:
    """Create, append, seal as interrupted, reopen, append, seal as completed; says what was acknowledged."""

    def say(journal: Journal) -> None:
        # pwrite is not among the calls that are counted.
        os.pwrite(acknowledged, str(journal.head.seq).encode().rjust(4), 0)

    journal = Journal.create(directory)
    for _ in range(2):
        journal.append("note", {})
        say(journal)
    journal.append("run_ended", {"status": "interrupted"})
    say(journal)
    seal_run(journal, "interrupted", {})
    journal = reopen_run(directory)
    say(journal)
    journal.append("run_ended", {"status": "completed"})
    say(journal)
    seal_run(journal, "completed", {})


def test_no_crash_in_a_runs_life_loses_an_acknowledged_event_or_makes_it_unverifiable(tmp_path: Path) -> None:
    directory, note = tmp_path / "run", tmp_path / "acknowledged"
    number, crashed = 0, True
    while crashed:
        number += 1
        shutil.rmtree(directory, ignore_errors=True)
        note.write_text("0")
        descriptor = os.open(note, os.O_RDWR)
        crashed = crash_at(number, lambda fd=descriptor: whole_life(directory, fd))  # type: ignore[misc]
        os.close(descriptor)
        if not (directory / "events.jsonl").exists():
            assert note.read_text() == "0"
            continue
        assert verify_run(directory).intact, (number, verify_run(directory).reason)
        assert len(read_events(directory)) >= int(note.read_text())
        with reopen_run(directory) as journal:
            journal.append("resumed", {})
        assert verify_run(directory).intact
    assert number > 30


def test_a_crash_while_a_torn_tail_is_set_aside_keeps_the_tail(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    number, crashed = 0, True
    while crashed:
        number += 1
        shutil.rmtree(directory, ignore_errors=True)
        with Journal.create(directory) as journal:
            journal.append("note", {})
        with (directory / "events.jsonl").open("ab") as stream:
            stream.write(b"half a line")
        crashed = crash_at(number, lambda: Journal.open(directory).close())
        Journal.open(directory).close()
        assert b"half a line\n" in (directory / "events.torn").read_bytes()
        kinds = [event.type for event in read_events(directory)]
        assert kinds[0] == "note" and set(kinds[1:]) <= {"torn_tail_recovered"}
    assert number > 5


def test_what_is_acknowledged_was_synced_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    for name in ("open", "write", "fsync", "replace", "rename"):
        real = getattr(os, name)

        def spy(*arguments: Any, _real: Callable[..., Any] = real, _name: str = name, **named: Any) -> Any:
            # Linux shows what a descriptor stands for.
            folder = _name == "fsync" and Path(f"/proc/self/fd/{arguments[0]}").is_dir()
            log.append("fsync folder" if folder else _name)
            return _real(*arguments, **named)

        monkeypatch.setattr(os, name, spy)
    journal = Journal.create(tmp_path / "run")
    assert [entry for entry in log if "fsync" in entry] == ["fsync", "fsync folder", "fsync folder"]
    log.clear()
    journal.append("run_ended", {"status": "failed"})
    assert log == ["write", "fsync"]
    log.clear()
    seal_run(journal, "failed", {})
    assert [entry for entry in log if entry != "open"] == ["write", "fsync", "replace", "fsync folder"]


def test_a_forked_child_cannot_write_its_parents_journal(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:

        def append() -> None:
            with pytest.raises(StoreError, match="belongs to the process that opened it"):
                journal.append("note", {})

        assert not crash_at(10_000, append)
        journal.append("note", {})
    assert len(read_events(tmp_path / "run")) == 1
