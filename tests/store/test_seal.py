"""A seal makes the end of a journal as hard to change as its middle."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryorepro.store.errors import JournalError, StoreError
from cryorepro.store.event import canonical_json, sha256_hex
from cryorepro.store.journal import Journal, read_events
from cryorepro.store.seal import read_seal, reopen_run, seal_run, verify_run


def sealed_run(directory: Path, status: str = "completed") -> Path:
    journal = Journal.create(directory)
    journal.append("run_created", {"run_uid": directory.name})
    journal.append("run_ended", {"status": status, "elapsed_seconds_all_attempts": 1.5})
    seal_run(journal, status, {"class_accuracy": 0.97})
    return directory


def test_a_sealed_run_verifies_and_names_its_end(tmp_path: Path) -> None:
    directory = sealed_run(tmp_path / "run")
    seal, last = read_seal(directory / "seal.json"), read_events(directory)[-1]
    assert (seal.head_seq, seal.head_sha256, seal.status) == (last.seq, last.sha256, "completed")
    assert seal.summary == {"class_accuracy": 0.97}
    found = verify_run(directory)
    assert (found.intact, found.sealed, found.being_written, found.head_seq) == (True, True, False, 2)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_a_sealed_run_can_change_unnoticed(pristine: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([pristine / "events.jsonl", pristine / "seal.json"]))
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    try:
        path.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
        found = verify_run(pristine)
    finally:
        path.write_bytes(content)
    assert not found.intact
    assert str(pristine) in found.reason
    assert verify_run(pristine).intact


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed_run(tmp_path_factory.mktemp("sealed") / "run")


def test_lines_cut_off_the_end_or_added_show(tmp_path: Path) -> None:
    directory = sealed_run(tmp_path / "run")
    content = (directory / "events.jsonl").read_bytes()
    lines = content.splitlines(keepends=True)
    for changed in (b"", lines[0], content[:-1], content + b"\n", content + lines[0], content + b"half"):
        (directory / "events.jsonl").write_bytes(changed)
        assert not verify_run(directory).intact, changed


def test_a_sealed_run_takes_no_events_unless_it_is_reopened(tmp_path: Path) -> None:
    directory = sealed_run(tmp_path / "run", "interrupted")
    with pytest.raises(JournalError, match="sealed"):
        Journal.open(directory)
    journal = reopen_run(directory)
    journal.append("run_ended", {"status": "completed"})
    seal_run(journal, "completed", {})
    kinds = [event.type for event in read_events(directory)]
    assert kinds == ["run_created", "run_ended", "run_reopened", "run_ended"]
    assert verify_run(directory).intact
    assert read_seal(directory / "seal.2.json").status == "interrupted"


def test_a_resumed_run_still_answers_to_its_first_seal(tmp_path: Path) -> None:
    """Someone rewrites the history before the first seal, consistently: the old seal still gives it away."""
    directory = sealed_run(tmp_path / "run", "interrupted")
    reopen_run(directory).close()
    (directory / "events.jsonl").unlink()
    with Journal.create(directory) as journal:
        journal.append("run_created", {"run_uid": "run", "seed": 4})
        journal.append("run_ended", {"status": "interrupted"})
        journal.append("run_reopened", {})
    found = verify_run(directory)
    assert not found.intact and "seal.2.json" in found.reason


def test_a_changed_run_cannot_be_reopened(tmp_path: Path) -> None:
    directory = sealed_run(tmp_path / "run")
    with (directory / "events.jsonl").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(JournalError, match=r"seal\.json"):
        reopen_run(directory)
    assert (directory / "seal.json").exists()


def test_dying_between_unsealing_and_recording_it_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    directory = sealed_run(tmp_path / "run", "interrupted")
    (directory / "seal.json").rename(directory / "seal.2.json")
    assert verify_run(directory).intact
    with reopen_run(directory) as journal:
        journal.append("attempt_started", {})
    assert verify_run(directory).intact


def test_the_seal_says_what_the_journal_says(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.append("run_ended", {"status": "failed"})
    with pytest.raises(JournalError, match="does not say that the run ended as completed"):
        seal_run(journal, "completed", {})
    assert not (tmp_path / "run/seal.json").exists()
    journal.close()


def test_a_seal_with_a_kinder_status_than_the_journal_is_found_out(tmp_path: Path) -> None:
    directory = sealed_run(tmp_path / "run", "failed")
    record = json.loads((directory / "seal.json").read_bytes())
    del record["sha256"]
    record["status"] = "completed"
    record["sha256"] = sha256_hex(canonical_json(record))
    (directory / "seal.json").write_bytes(canonical_json(record) + b"\n")
    found = verify_run(directory)
    assert not found.intact and "says completed and the journal failed" in found.reason


def test_a_seal_that_cannot_be_written_leaves_the_run_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.create(tmp_path / "run")
    journal.append("run_ended", {"status": "failed"})

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        patch.setattr(Path, "replace", full)
        with pytest.raises(StoreError, match=r"cannot write .*seal\.json: No space left on device"):
            seal_run(journal, "failed", {})
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["events.jsonl"]
    seal_run(journal, "failed", {})
    assert verify_run(tmp_path / "run").intact


def test_a_run_without_a_journal_is_not_intact(tmp_path: Path) -> None:
    found = verify_run(tmp_path)
    assert not found.intact and "No such file" in found.reason


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff", b'{"sha256":1}'])
def test_a_seal_that_is_none_is_a_finding_and_no_crash(tmp_path: Path, content: bytes) -> None:
    directory = sealed_run(tmp_path / "run")
    (directory / "seal.json").write_bytes(content)
    found = verify_run(directory)
    assert not found.intact and "seal.json" in found.reason
