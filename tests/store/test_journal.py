"""The journal keeps what it acknowledged, refuses what it cannot keep and shows every change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryorepro.store.errors import EventError, JournalError, RunLockedError, StoreError
from cryorepro.store.journal import Journal, is_being_written, read_events
from tests.store import workers


def write_journal(directory: Path, count: int = 4) -> bytes:
    with Journal.create(directory) as journal:
        for number in range(count):
            journal.append("stage_started", {"stage": f"class3d-{number}", "attempt": 1, "pid": 100 + number})
    return (directory / "events.jsonl").read_bytes()


def test_events_come_back_in_order_as_they_were_written(tmp_path: Path) -> None:
    payload = {"text": "Ångström \ud800 \n", "none": None, "list": [1, 2.5, True], "deep": {"a": {"b": -0.0}}}
    with Journal.create(tmp_path / "run") as journal:
        first = journal.append("run_created", {"run_uid": "r", "seed": 2**70})
        second = journal.append("anything", payload)
    events = read_events(tmp_path / "run")
    assert events == [first, second]
    assert [event.seq for event in events] == [1, 2]
    assert events[1].data == payload
    assert events[0].data["seed"] == 2**70
    assert events[0].time.endswith("Z") and len(events[0].time) == len("2026-11-20T11:15:05.123456Z")


def test_a_line_is_hashed_as_documented(tmp_path: Path) -> None:
    """The chain can be checked with nothing but a JSON parser and SHA-256."""
    write_journal(tmp_path / "run")
    previous = "0" * 64
    for number, line in enumerate((tmp_path / "run/events.jsonl").read_text("ascii").splitlines(), start=1):
        record = json.loads(line)
        digest = record.pop("sha256")
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == digest
        assert (record["seq"], record["prev"]) == (number, previous)
        previous = digest


def test_continuing_a_journal_extends_the_same_chain(tmp_path: Path) -> None:
    before = write_journal(tmp_path / "run")
    with Journal.open(tmp_path / "run") as journal:
        journal.append("attempt_started", {"attempt": 2})
    after = (tmp_path / "run/events.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(read_events(tmp_path / "run")) == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: 2}, b"x", {"a": [float("-inf")]}])
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path, value: object) -> None:
    with Journal.create(tmp_path / "run") as journal:
        journal.append("ok", {})
        before = (tmp_path / "run/events.jsonl").read_bytes()
        with pytest.raises(EventError, match=r"data\.numbers"):
            journal.append("stage_outputs", {"numbers": value})
        assert (tmp_path / "run/events.jsonl").read_bytes() == before
        journal.append("ok", {})
    assert [event.type for event in read_events(tmp_path / "run")] == ["ok", "ok"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    directory = tmp_path_factory.mktemp("written")
    return directory, write_journal(directory, count=5)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_can_change_unnoticed(written: tuple[Path, bytes], data: st.DataObject) -> None:
    directory, content = written
    # The last newline is left out: without it the last line reads as one that was never acknowledged, and
    # only the seal tells the two apart (test_seal).
    position = data.draw(st.integers(0, len(content) - 2))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    changed = bytearray(content)
    changed[position] = value
    (directory / "events.jsonl").write_bytes(changed)
    with pytest.raises(JournalError, match=r"events\.jsonl line \d"):
        read_events(directory)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lines_cannot_be_moved_doubled_or_left_out(written: tuple[Path, bytes], data: st.DataObject) -> None:
    directory, content = written
    lines = content.splitlines(keepends=True)
    picked = data.draw(st.lists(st.sampled_from(lines), min_size=1, max_size=7))
    if picked == lines[: len(picked)]:
        picked = [*picked, picked[0]]
    (directory / "events.jsonl").write_bytes(b"".join(picked))
    with pytest.raises(JournalError):
        read_events(directory)


def test_a_line_of_another_journal_does_not_fit_in(tmp_path: Path) -> None:
    ours = write_journal(tmp_path / "ours").splitlines(keepends=True)
    theirs = write_journal(tmp_path / "theirs").splitlines(keepends=True)
    (tmp_path / "ours/events.jsonl").write_bytes(b"".join([*ours[:2], *theirs[2:]]))
    with pytest.raises(JournalError, match="line 3: does not follow the line before it"):
        read_events(tmp_path / "ours")


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda line: line.replace(b":", b": ", 1),
        lambda line: line.replace(b"stage_started", b"stage_st\\u0061rted"),
        lambda line: line.replace(b'"attempt":1', b'"attempt":2,"attempt":1'),
        lambda line: json.dumps(dict(reversed(json.loads(line).items())), separators=(",", ":")).encode() + b"\n",
        lambda line: line.replace(b'"seq":1', b'"seq":1.0'),
        lambda line: line.replace(b'"seq":1', b'"seq":true'),
        lambda line: b"\xef\xbb\xbf" + line,
    ],
)
def test_the_same_content_in_another_form_is_not_what_was_written(
    tmp_path: Path, rewrite: Callable[[bytes], bytes]
) -> None:
    first, *rest = write_journal(tmp_path / "run").splitlines(keepends=True)
    assert rewrite(first) != first
    (tmp_path / "run/events.jsonl").write_bytes(b"".join([rewrite(first), *rest]))
    with pytest.raises(JournalError, match="line 1: not"):
        read_events(tmp_path / "run")


def test_no_place_to_tear_a_journal_loses_an_acknowledged_line(tmp_path: Path) -> None:
    content = write_journal(tmp_path / "whole", count=3)
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        directory = tmp_path / "torn"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        (directory / "events.jsonl").write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        assert len(read_events(directory)) == whole
        with Journal.open(directory) as journal:
            journal.append("resumed", {})
        kinds = [event.type for event in read_events(directory)][whole:]
        if cut in (0, *ends):
            assert kinds == ["resumed"]
        else:
            assert kinds == ["torn_tail_recovered", "resumed"]
            assert (directory / "events.torn").read_bytes() == content[ends[whole - 1] if whole else 0 : cut] + b"\n"


@pytest.mark.parametrize("tail", [b"\0" * 300, b"\0" * 300 + b"\n", b'{"seq":9,\xff', b"garbage"])
def test_a_tail_that_a_power_cut_left_is_set_aside(tmp_path: Path, tail: bytes) -> None:
    content = write_journal(tmp_path / "run", count=2)
    (tmp_path / "run/events.jsonl").write_bytes(content + tail)
    with Journal.open(tmp_path / "run") as journal:
        journal.append("resumed", {})
    events = read_events(tmp_path / "run")
    assert [event.type for event in events[2:]] == ["torn_tail_recovered", "resumed"]
    assert events[2].data == {"size_bytes": len(tail), "sha256": hashlib.sha256(tail).hexdigest()}


def test_a_changed_acknowledged_line_is_not_taken_for_a_torn_tail(tmp_path: Path) -> None:
    content = write_journal(tmp_path / "run", count=2)
    (tmp_path / "run/events.jsonl").write_bytes(content[:-3] + b"X}\n")
    with pytest.raises(JournalError, match="line 2"):
        Journal.open(tmp_path / "run")


def test_a_second_writer_is_told_so(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run"):
        assert is_being_written(tmp_path / "run")
        with pytest.raises(RunLockedError, match="the run is being written by another process"):
            Journal.open(tmp_path / "run")
    assert not is_being_written(tmp_path / "run")
    Journal.open(tmp_path / "run").close()


def test_a_run_has_one_journal(tmp_path: Path) -> None:
    write_journal(tmp_path / "run")
    with pytest.raises(StoreError, match="File exists"):
        Journal.create(tmp_path / "run")


def test_threads_share_a_journal(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "run") as journal:

        def work(name: str) -> None:
            for number in range(20):
                journal.append("note", {"who": name, "number": number})

        threads = [threading.Thread(target=work, args=(str(index),)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seen = [(event.data["who"], event.data["number"]) for event in read_events(tmp_path / "run")]
    assert sorted(seen) == sorted((str(index), number) for index in range(6) for number in range(20))


def test_a_signal_in_the_middle_of_an_append_leaves_a_journal_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_fsync = os.fsync
    with Journal.create(tmp_path / "run") as journal:
        journal.append("before", {})

        def interrupted(descriptor: int) -> None:
            monkeypatch.setattr(os, "fsync", real_fsync)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append("never_acknowledged", {})
        journal.append("after", {})
    assert [event.type for event in read_events(tmp_path / "run")] == ["before", "after"]


# --- a failing disk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit_bytes", [10_000, 10_001, 12_345])
def test_a_full_disk_costs_no_acknowledged_event(tmp_path: Path, limit_bytes: int) -> None:
    """A limit on the file's size makes ``write`` stop short and then fail, as a full disk does."""
    with workers.start("fill_disk", tmp_path / "run", limit_bytes, say=True) as child:
        report = json.loads(child.communicate(timeout=120)[0])
    assert 5 <= report["acknowledged"] <= 15
    assert len(report["messages"]) == 3
    assert all(str(tmp_path / "run/events.jsonl") in message for message in report["messages"])
    kinds = [event.type for event in read_events(tmp_path / "run")]
    assert kinds == ["stage_outputs"] * report["acknowledged"] + ["room_again"]
    assert not (tmp_path / "run/events.torn").exists()


def test_a_full_tmpfs_gives_one_sentence_and_appends_work_once_there_is_room(small_disk: Path) -> None:
    messages: list[str] = []
    (small_disk / "ballast").write_bytes(b"\0" * 1_900_000)
    with Journal.create(small_disk / "run") as journal:
        acknowledged = 0
        try:
            while True:
                journal.append("stage_outputs", {"filler": "x" * 5000})
                acknowledged += 1
        except StoreError as error:
            messages.append(str(error))
        assert acknowledged > 3
        assert messages == [f"cannot write {small_disk / 'run/events.jsonl'}: No space left on device"]
        (small_disk / "ballast").unlink()
        journal.append("room_again", {})
    kinds = [event.type for event in read_events(small_disk / "run")]
    assert kinds == ["stage_outputs"] * acknowledged + ["room_again"]


def test_a_disk_that_cannot_even_undo_stops_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.create(tmp_path / "run") as journal:
        journal.append("kept", {})

        def failing(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            with pytest.raises(StoreError, match=r"cannot write .*events\.jsonl: Input/output error"):
                journal.append("lost", {})
        with pytest.raises(StoreError, match="could not be undone"):
            journal.append("refused", {})
    with Journal.open(tmp_path / "run") as journal:
        journal.append("again", {})
    assert [event.type for event in read_events(tmp_path / "run")] == ["kept", "again"]


# --- kill -9 ------------------------------------------------------------------------------------------------


def test_kill_9_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    Journal.create(directory).close()
    previous = 0
    for trial in range(20):
        with workers.start("acknowledge_for_ever", directory, say=True) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep((trial * 7 % 20) * 0.0017)
            child.send_signal(signal.SIGKILL)
            spoken = [*first.split(), *child.stdout.read().split(b"\n")]
        # The last word may itself have been cut short; all others were acknowledged.
        numbers = [int(word) for word in spoken[:-1] if word]
        kept = [event.seq for event in read_events(directory)]
        assert kept == list(range(1, len(kept) + 1))
        assert numbers and set(numbers) <= set(kept)
        assert len(kept) > previous
        previous = len(kept)
