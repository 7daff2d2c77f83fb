"""Sets survive what runs survive: a kill, an interruption; the index follows from their journals; orders are fair."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.compare.ensemble.plan import members
from cryorepro.compare.ensemble.record import set_record
from cryorepro.store.event import canonical_json
from cryorepro.store.home import Home
from cryorepro.store.index import Index, logical_dump
from cryorepro.store.ingest import ingest, rebuild
from tests.compare.noisy_store import Store


@pytest.fixture
def store(tmp_path: Path, toy_site: Path) -> Store:
    return Store(tmp_path, toy_site)


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=4, unique=True), st.integers(1, 12))
def test_every_runner_meets_every_seed_and_none_is_always_first(runners: list[str], blocks: int) -> None:
    chosen = members(runners, range(1, blocks + 1))
    assert [row.position for row in chosen] == list(range(1, len(runners) * blocks + 1))
    assert {(row.runner, row.seed) for row in chosen} == {(r, s) for r in runners for s in range(1, blocks + 1)}
    assert [row.seed for row in chosen] == sorted(row.seed for row in chosen)
    if blocks % 2 == 0:
        places = {runner: sum(row.position for row in chosen if row.runner == runner) for runner in runners}
        assert len(set(places.values())) == 1, "a steady drift hits all alike"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_set_that_stopped_is_resumed_with_the_same_members(store: Store, number: signal.Signals) -> None:
    command = ["reproduce", store.spec("noisy"), "--seeds", "1,2,3", "--set", "sum.seconds_per_step=0.15", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cryorepro", *command], env=store.environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    name, started = "", 0
    for line in process.stdout:
        event = json.loads(line)
        name = event.get("set", name)
        started += event["event"] == "member_started"
        if started == 2 and event["event"] == "stage_started":
            break
    time.sleep(0.3)
    process.send_signal(number)
    process.communicate(timeout=60)
    directory = store.root / "store" / "sets" / name
    before = set_record(directory)
    assert [row["status"] for row in before["members"]] == ["completed", "unfinished", "planned"]
    assert before["status"] == "unfinished"
    assert store.call("show", name).content["verdict"] is None
    answer = store.call("resume", name)
    assert answer.content["status"] == "completed", answer.error
    runs = [row["run"] for row in answer.content["members"]]
    assert runs[:2] == [row["run"] for row in before["members"]][:2]
    assert len(list((store.root / "store" / "runs").iterdir())) == 3
    ended = store.call("resume", name)
    assert ended.code == 2
    assert "has ended" in ended.error


def test_the_index_of_sets_follows_from_their_journals(store: Store) -> None:
    name = store.run("noisy", "--replicates", "2", "--set", "sum.misbehave=odd").content["set"]
    (row,) = store.call("runs", "--sets").content
    assert (row["set_uid"], row["members"], row["status"]) == (name, 2, "completed")
    home = Home.at(store.root / "store")
    with Index.open(home) as index:
        ingest(index)
        dump = logical_dump(index.db)
    rebuild(home)
    with Index.open(home) as index:
        assert logical_dump(index.db) == dump
    assert name in dump


def test_an_edited_set_is_found_out(store: Store) -> None:
    name = store.run("noisy", "--replicates", "2").content["set"]
    journal = store.root / "store" / "sets" / name / "events.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    event = json.loads(lines[-2])
    event["data"]["word"] = "identical"
    journal.write_bytes(b"".join([*lines[:-2], canonical_json(event) + b"\n", lines[-1]]))
    shown = store.call("show", name)
    assert shown.code == 2
    assert "does not match its own hash" in shown.error
    (row,) = store.call("runs", "--sets").content
    assert row["status"] == "unverifiable"
