"""The index says what the journals say, however often, in what order and by how many it was filled."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryorepro.store.dump import logical_dump
from cryorepro.store.errors import StoreError
from cryorepro.store.home import Home
from cryorepro.store.index import Index
from cryorepro.store.ingest import ingest, ingest_run, open_for_reading, rebuild
from cryorepro.store.journal import Journal, read_events
from cryorepro.store.queries import find_artifacts, list_runs, run_detail
from tests.store import workers
from tests.store.journals import (
    complete_events,
    created,
    opening_events,
    stage_events,
    write_events,
    write_run,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "store").ensure()


def dump(home: Home) -> str:
    with Index.open(home) as index:
        return logical_dump(index.db)


def status_of(home: Home, run_uid: str) -> tuple[str, str]:
    with Index.open(home) as index:
        row = index.query("SELECT status, reason FROM runs WHERE run_uid = ?", run_uid)[0]
        return row["status"], row["reason"] or ""


# --- what is read back --------------------------------------------------------------------------------------


def test_a_run_is_read_back_as_it_was_written(home: Home) -> None:
    directory = write_run(home, seed=5)
    with open_for_reading(home) as index:
        run = run_detail(index, directory.name)
        (listed,) = list_runs(index)
    assert (run["benchmark"], run["tier"], run["seed"], run["status"]) == (
        "empiar-10028",
        "twin",
        5,
        "completed",
    )
    assert run["command"] == ["cryorepro", "reproduce", "empiar-10028"]
    assert run["runners"] == {"class3d": "relion-like", "refine3d": "relion"}
    assert (run["elapsed_seconds"], run["sealed"], run["verdict"]) == (5.5, 1, {"self": "equivalent"})
    assert [probe["status"] for probe in run["fingerprint"]] == ["ok", "failed"]
    assert run["fingerprint"][0]["data"] == {"cores": 2} and run["fingerprint"][1]["error"] == "no NVML"
    assert run["errata"][0]["action"] == "token dropped"
    assert run["data"][0]["rows"] == {"particles": 400} and run["data"][0]["truth"] == 1
    class3d, refine3d = run["stages"]
    assert (class3d["stage"], class3d["seed"], class3d["iterations"]) == ("class3d", 5, 25)
    assert class3d["argv"] == ["relion_refine", "--o", "class3d"] and class3d["numbers"] == {"resolution": 20.5}
    assert refine3d["resources"] == {
        "times_started": 1, "wall_seconds": 2.5, "cpu_seconds": 4.0, "peak_memory_bytes": 1002,
        "read_bytes": 7, "written_bytes": 8,
    }  # fmt: skip
    assert class3d["attempts"][0]["started_at"] == "2025-11-20T11:15:05.250000Z"
    assert [edge["from_stage"] for edge in refine3d["inputs"]] == ["class3d"] and refine3d["inputs"][0]["bound"]
    accuracy, resolution = run["outcomes"]
    assert (accuracy["status"], accuracy["value"], accuracy["bound"]) == ("unverifiable", None, 0)
    assert (resolution["value"], resolution["shell"], resolution["box_px"]) == (20.5, 24, 128)
    assert resolution["bound"] == 1 and resolution["details"] == {"masked": True}
    assert [(v["claim"], v["axis_outcome"]) for v in run["verdicts"]] == [
        ("", "equivalent"), ("wong-2014", "not-attempted"),
    ]  # fmt: skip
    assert (listed["stages_completed"], listed["outcomes_measured"], listed["outcomes_unverifiable"]) == (
        2,
        1,
        1,
    )
    assert run["attempts"][0]["observed_seconds"] >= 0


def test_flat_outcomes_are_read_as_well(home: Home) -> None:
    uid, directory = home.new_run()
    with Journal.create(directory) as journal:
        write_events(journal, opening_events(uid))
        flat = {
            "outcome": "fsc",
            "metric": "fsc",
            "status": "measured",
            "value": 3,
            "unit": "shells",
            "shell": 3,
        }
        journal.append("outcome_measured", {**flat, "artifact_sha256s": ["a" * 64]})
    with open_for_reading(home) as index:
        (outcome,) = run_detail(index, uid)["outcomes"]
    assert (outcome["value"], outcome["unit"], outcome["artifact_sha256s"]) == (3.0, "shells", ["a" * 64])
    assert outcome["bound"] == 0, "no stage of this run wrote that file"


@pytest.mark.parametrize("status", ["failed", "interrupted", None])
def test_an_outcome_of_a_stage_that_did_not_complete_is_not_bound(home: Home, status: str | None) -> None:
    """The regression the design names: a number read from a file although the stage that writes it failed."""
    uid, directory = home.new_run()
    with Journal.create(directory) as journal:
        for kind, data in complete_events(uid):
            if kind == "stage_ended" and data["stage"] == "refine3d":
                if status is None:
                    continue
                data = {**data, "status": status}
            journal.append(kind, data)
    with open_for_reading(home) as index:
        outcomes = {row["outcome"]: row for row in run_detail(index, uid)["outcomes"]}
    assert outcomes["resolution"]["status"] == "measured" and outcomes["resolution"]["bound"] == 0


def test_unknown_events_are_kept_as_they_came(home: Home) -> None:
    directory = write_run(home)
    with open_for_reading(home) as index:
        rows = index.query("SELECT * FROM events WHERE run_uid = ? ORDER BY seq", directory.name)
    events = read_events(directory)
    assert [(row["seq"], row["sha256"], row["type"], json.loads(row["data"])) for row in rows] == [
        (event.seq, event.sha256, event.type, event.data) for event in events
    ]


def test_an_interrupted_and_a_killed_attempt_are_told_apart(home: Home) -> None:
    uid, directory = home.new_run()
    with Journal.create(directory) as journal:
        write_events(journal, opening_events(uid))
        write_events(journal, stage_events("class3d", 1, 1, None)[:2])
        with open_for_reading(home) as index:
            assert [run["status"] for run in list_runs(index)] == ["running"]
    with open_for_reading(home) as index:
        assert [run["status"] for run in list_runs(index, status="killed")] == ["killed"]
    with Journal.open(directory) as journal:
        journal.append("attempt_started", {"attempt": 2})
        write_events(journal, stage_events("class3d", 1, 1, None)[:2])
        journal.append("attempt_ended", {"attempt": 2, "status": "interrupted", "elapsed_seconds": 1.5})
    with open_for_reading(home) as index:
        run = run_detail(index, uid)
    assert run["status"] == "interrupted"
    assert [row["status"] for row in run["attempts"]] == ["killed", "interrupted"]
    assert [row["status"] for row in run["stages"][0]["attempts"]] == ["killed", "unfinished"]


def test_a_stage_that_failed_before_it_started_is_there(home: Home) -> None:
    uid, directory = home.new_run()
    with Journal.create(directory) as journal:
        write_events(journal, opening_events(uid))
        failure = {
            "stage": "class3d",
            "attempt": 1,
            "status": "failed",
            "exit_code": None,
            "failure_class": "setup",
        }
        journal.append("stage_ended", {**failure, "message": "no such program"})
        journal.append("run_ended", {"status": "failed", "reason": "setup: no such program"})
    with open_for_reading(home) as index:
        run = run_detail(index, uid)
    assert (run["status"], run["stages"][0]["status"]) == ("failed", "failed")
    assert run["stages"][0]["attempts"][0]["failure_class"] == "setup"


def test_artifacts_are_found_by_content_over_all_runs(home: Home) -> None:
    first, second = write_run(home, seed=1), write_run(home, seed=1)
    with open_for_reading(home) as index:
        digest = run_detail(index, first.name)["stages"][0]["outputs"][0]["sha256"]
        places = find_artifacts(index, digest)
    assert [(p["run_uid"], p["stage"], p["use"]) for p in places] == [
        (uid, stage, use)
        for uid in sorted([first.name, second.name])
        for stage, use in [("class3d", "output"), ("refine3d", "input")]
    ]


def test_runs_can_be_listed_by_what_they_are(home: Home) -> None:
    uids = [write_run(home).name for _ in range(3)]
    with open_for_reading(home) as index:
        assert [run["run_uid"] for run in list_runs(index)] == sorted(uids, reverse=True)
        assert len(list_runs(index, limit=2)) == 2
        assert len(list_runs(index, benchmark="empiar-10028", tier="twin", status="completed")) == 3
        assert list_runs(index, benchmark="other") == []


# --- once and again -----------------------------------------------------------------------------------------


def test_ingesting_twice_changes_nothing_and_reads_nothing(home: Home) -> None:
    write_run(home)
    with Index.open(home) as index:
        assert len(ingest(index).read) == 1
        before = logical_dump(index.db)
        report = ingest(index)
        assert (report.read, len(report.unchanged)) == ((), 1)
        assert logical_dump(index.db) == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(0, 23), max_size=6), torn=st.booleans())
def test_in_whatever_pieces_a_journal_is_read_the_index_is_that_of_a_rebuild(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], torn: bool
) -> None:
    home = Home.at(tmp_path_factory.mktemp("pieces"))
    uid, directory = home.new_run()
    with Index.open(home) as index, Journal.create(directory) as journal:
        for number, (kind, data) in enumerate(complete_events(uid)):
            journal.append(kind, data)
            if number in cuts:
                if torn:
                    with (directory / "events.jsonl").open("ab") as stream:
                        stream.write(b'{"half')
                ingest(index)
        ingest(index)
        piecewise = logical_dump(index.db)
    rebuild(home)
    assert dump(home) == piecewise
    home.index.unlink()
    rebuild(home)
    assert dump(home) == piecewise
    assert len(piecewise.splitlines()) > 40


def test_a_rebuild_gives_the_same_index_for_every_kind_of_run(home: Home) -> None:
    for seed in range(3):
        write_run(home, seed)
    write_run(home, sealed=False)
    broken = write_run(home)
    content = (broken / "events.jsonl").read_bytes()
    (broken / "events.jsonl").write_bytes(content.replace(b"relion", b"relyon", 1))
    uid, directory = home.new_run()
    with Journal.create(directory) as journal:
        write_events(journal, opening_events(uid))
    with open_for_reading(home) as index:
        before = logical_dump(index.db)
    assert rebuild(home).unverifiable == (broken.name,)
    assert dump(home) == before
    home.index.unlink()
    assert rebuild(home).unverifiable == (broken.name,)
    assert dump(home) == before


def test_a_deleted_run_leaves_the_index(home: Home) -> None:
    kept, gone = write_run(home), write_run(home)
    open_for_reading(home).close()
    shutil.rmtree(gone)
    with Index.open(home) as index:
        assert ingest(index).removed == (gone.name,)
        assert [run["run_uid"] for run in list_runs(index)] == [kept.name]
        assert ingest_run(index, "no-such-run") is False


# --- journals that cannot be believed -----------------------------------------------------------------------


def test_a_changed_journal_makes_its_run_unverifiable_and_no_other(home: Home) -> None:
    good, bad = write_run(home), write_run(home)
    content = (bad / "events.jsonl").read_bytes()
    (bad / "events.jsonl").write_bytes(content.replace(b"20.5", b"10.5", 1))
    with open_for_reading(home) as index:
        run = run_detail(index, bad.name)
        assert (run["status"], run["outcomes"], run["stages"]) == ("unverifiable", [], [])
        assert "line" in run["reason"] and str(bad) in run["reason"]
        assert run_detail(index, good.name)["status"] == "completed"
    (bad / "events.jsonl").write_bytes(content)
    open_for_reading(home).close()
    assert status_of(home, bad.name) == ("completed", "")


def test_lines_cut_off_an_unsealed_run_show_against_what_the_index_saw(home: Home) -> None:
    directory = write_run(home, sealed=False)
    open_for_reading(home).close()
    lines = (directory / "events.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "events.jsonl").write_bytes(b"".join(lines[:-2]))
    open_for_reading(home).close()
    status, reason = status_of(home, directory.name)
    assert status == "unverifiable" and "no longer holds" in reason
    rebuild(home)
    assert status_of(home, directory.name)[0] == "unverifiable", "a rebuild forgot what had been seen"


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("run_created", {"run_uid": "another"}, "is of run another"),
        ("run_created", {"seed": 2**64}, "seed does not fit"),
        ("run_created", {"seed": "one"}, "seed is not a whole number"),
        ("run_created", {"plugins": [1]}, r"plugins\[0\] is not a mapping"),
        ("run_ended", {"status": "fine"}, "status 'fine'"),
        ("stage_planned", {"inputs": [{"role": "x"}]}, "has no path"),
        ("stage_planned", {"stage": None}, "has no stage"),
        ("stage_ended", {"wall_seconds": True}, "wall_seconds is not a number"),
        ("stage_ended", {"started_at": 1e300}, "started_at is no time"),
        ("stage_ended", {"peak_memory_bytes": 1.5}, "peak_memory_bytes is not a whole number"),
        ("outcome_measured", {"value": None}, "measured and has no value"),
        ("outcome_measured", {"status": "unverifiable"}, "unverifiable and has a value"),
        ("attempt_ended", {"attempt": 9}, "never started"),
        ("fingerprint_recorded", {"probes": [{"name": "x", "status": "maybe"}]}, "status 'maybe'"),
        ("verdict_given", {"self_check": 1}, "self_check is not true or false"),
        ("data_prepared", {"files": {"role": 1}}, "files is not a list"),
    ],
)
def test_an_event_of_the_wrong_shape_makes_its_run_unverifiable_with_the_reason(
    home: Home, kind: str, change: dict[str, Any], reason: str
) -> None:
    good = write_run(home)
    uid, directory = home.new_run()
    events = complete_events(uid)
    position = next(number for number, event in enumerate(events) if event[0] == kind)
    events[position] = (kind, {**events[position][1], **change})
    with Journal.create(directory) as journal:
        write_events(journal, events)
    open_for_reading(home).close()
    status, message = status_of(home, uid)
    assert status == "unverifiable"
    assert f"event {position + 1} ({kind})" in message
    assert re.search(reason, message), message
    assert status_of(home, good.name)[0] == "completed"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_payload_whatever_stops_an_ingest(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    home = Home.at(tmp_path_factory.mktemp("odd"))
    uid, directory = home.new_run()
    events = complete_events(uid)
    position = data.draw(st.integers(0, len(events) - 1))
    kind, payload = events[position]
    key = data.draw(st.sampled_from(sorted(payload)))
    events[position] = (kind, {**payload, key: data.draw(VALUES)})
    with Journal.create(directory) as journal:
        write_events(journal, events)
    good = write_run(home)
    with open_for_reading(home) as index:
        statuses = {run["run_uid"]: run["status"] for run in list_runs(index)}
        before = logical_dump(index.db)
    assert statuses[good.name] == "completed" and uid in statuses
    rebuild(home)
    assert dump(home) == before


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"\xff\xfe\n", b"[" * 200_000 + b"\n", b"1\n2\n"])
def test_a_file_that_is_no_journal_is_a_run_that_cannot_be_verified(home: Home, content: bytes) -> None:
    uid, directory = home.new_run()
    (directory / "events.jsonl").write_bytes(content)
    open_for_reading(home).close()
    assert status_of(home, uid)[0] == ("unverifiable" if content else "unfinished")


def test_halves_of_characters_in_file_names_are_indexed(home: Home) -> None:
    """Linux file names are bytes; Python shows undecodable ones as lone surrogates, which SQLite refuses."""
    uid, directory = home.new_run()
    with Journal.create(directory) as journal:
        journal.append("run_created", {**created(uid), "dataset": "odd\udcff", "command": ["x\udcff"]})
    with open_for_reading(home) as index:
        run = run_detail(index, uid)
    assert (run["status"], run["dataset"], run["command"]) == ("killed", "odd\\udcff", ["x\udcff"])


# --- many at once -------------------------------------------------------------------------------------------


def test_eight_processes_in_one_store_lose_nothing(home: Home) -> None:
    shutil.rmtree(home.root)
    children = [workers.start("work_in_store", home.root, worker, 3) for worker in range(8)]
    assert [child.wait(timeout=240) for child in children] == [0] * 8
    with Index.open(home) as index:
        rows = index.query("SELECT seed, status FROM runs ORDER BY seed")
        assert [row["seed"] for row in rows] == [100 * worker + number for worker in range(8) for number in range(3)]
        assert {row["status"] for row in rows} == {"completed"}
        per_run = {row["n"] for row in index.query("SELECT count(*) AS n FROM events GROUP BY run_uid")}
        assert per_run == {len(complete_events("x"))}
        assert index.query("PRAGMA integrity_check")[0]["integrity_check"] == "ok"
        assert index.query("PRAGMA foreign_key_check") == []
        before = logical_dump(index.db)
    rebuild(home)
    assert dump(home) == before


def test_kill_9_during_ingest_and_rebuild_leaves_an_index_that_goes_on(home: Home) -> None:
    for seed in range(6):
        write_run(home, seed)
    expected = ""
    rng = random.Random(3)
    for trial in range(12):
        with workers.start("ingest_for_ever", home.root, say=True) as child:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            time.sleep(rng.random() * 0.12)
            child.send_signal(signal.SIGKILL)
        with open_for_reading(home) as index:
            assert index.query("PRAGMA integrity_check")[0]["integrity_check"] == "ok"
            assert len(list_runs(index, status="completed")) == 6
            expected = expected or logical_dump(index.db)
            assert logical_dump(index.db) == expected, trial


def test_a_writer_waits_for_another(home: Home) -> None:
    write_run(home)
    with Index.open(home) as blocking:
        with blocking.transaction():
            child = workers.start("ingest_once", home.root, say=True)
            with pytest.raises(subprocess.TimeoutExpired):
                child.communicate(timeout=1.5)
        assert child.communicate(timeout=60)[0] == b"1"


def test_a_store_that_cannot_be_listed_is_one_sentence(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "store").ensure()
    shutil.rmtree(home.runs)
    home.runs.write_text("")
    with pytest.raises(StoreError, match=r"cannot read .*/runs: Not a directory"):
        open_for_reading(home)
