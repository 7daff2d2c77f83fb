"""What names a person, a machine or a place stays behind."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from cryorepro.bundle.allowed import allowed_data
from cryorepro.bundle.privacy import Scrubber, refuse_names
from cryorepro.em.errors import InputError
from cryorepro.workflow.redact import Redactor
from tests.bundle.conftest import USER, command, export, succeed
from tests.bundle.forge import members_of


def test_no_member_names_the_person_the_place_or_the_host(
    toy_bundle: Path, toy_environment: dict[str, str], toy_site: Path
) -> None:
    home = toy_environment["HOME"]
    journal = next(Path(toy_environment["CRYOREPRO_HOME"]).glob("runs/*/events.jsonl")).read_text()
    assert home in journal, "the run itself must have recorded such paths, or this test shows nothing"
    forbidden = [USER, home, str(toy_site)] + [name for name in [socket.gethostname()] if len(name) >= 8]
    for name, content in members_of(toy_bundle).items():
        for text in forbidden:
            assert text.encode() not in content, f"{name} names {text}"


def test_processes_boots_and_hosts_do_not_leave(toy_bundle: Path) -> None:
    events = [json.loads(line) for line in members_of(toy_bundle)["journal/events.jsonl"].splitlines()]
    started = [event["data"] for event in events if event["type"] == "attempt_started"]
    assert started == [{"attempt": 1}]
    words = members_of(toy_bundle)["journal/events.jsonl"].decode()
    assert "boot_id" not in words and "host_hash" not in words and '"pid"' not in words


def test_what_the_journal_says_is_otherwise_unchanged(toy_bundle: Path, toy_environment: dict[str, str]) -> None:
    original = next(Path(toy_environment["CRYOREPRO_HOME"]).glob("runs/*/events.jsonl")).read_text().splitlines()
    there = [json.loads(line) for line in members_of(toy_bundle)["journal/events.jsonl"].splitlines()]
    here = [json.loads(line) for line in original]
    assert [(event["time"], event["type"]) for event in there] == [(event["time"], event["type"]) for event in here]
    listed = json.loads(members_of(toy_bundle)["journal/original.json"])
    assert [row["sha256"] for row in listed["events"]] == [event["sha256"] for event in here]
    for left, right, row in zip(here, there, listed["events"], strict=True):
        assert row["redacted"] == (left["data"] != right["data"])


def test_a_probe_that_is_not_on_the_list_leaves_nothing_but_its_name() -> None:
    probe = {
        "name": "badge-reader",
        "plugin": "x",
        "status": "ok",
        "seconds": 1.0,
        "error": None,
        "data": {"who": "me"},
    }
    kept = allowed_data("fingerprint_recorded", {"probes": [probe]})
    assert kept["probes"][0]["data"] == {}
    assert allowed_data("made_up", {"secret": 1}) == {}
    assert allowed_data("stage_ended", {"stage": "a", "energy_joules": 5.0, "node": "n17"}) == {
        "stage": "a",
        "energy_joules": 5.0,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--i /scratch/lab/p.star", "--i <path>/p.star"),
        ("/usr/bin/relion_refine", "relion_refine"),
        ("000001@/data/bob/stack.mrcs", "000001@<path>/stack.mrcs"),
        ("file:///data/bob/x", "<path>"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("electrons/A and 1/2", "electrons/A and 1/2"),
        ("/groups/alice", "<path>"),
        ("node17.cluster said no", "<host> said no"),
        ("ask marvin", "ask <name>"),
    ],
)
def test_scrubbing(text: str, expected: str) -> None:
    names = {"node17.cluster": "<host>", "marvin": "<name>"}
    assert Scrubber(Redactor.of({}, names)).text(text) == expected


def test_a_bundle_that_would_name_someone_is_not_written() -> None:
    scrubber = Scrubber(Redactor.of({}, {"marvin": "<name>"}))
    refuse_names(scrubber, {"a.md": b"nobody here"}, {})
    with pytest.raises(InputError, match=r"a\.md: would name 'marvin'"):
        refuse_names(scrubber, {"a.md": b"thanks to marvin"}, {})
    with pytest.raises(InputError, match="would name '/data/x/y'"):
        refuse_names(scrubber, {"a.md": b"in /data/x/y"}, {})
    refuse_names(scrubber, {"a.md": b"marvin is a class"}, {"stage": "marvin"})


def test_only_a_finished_run_leaves_and_nothing_is_overwritten(
    toy_bundle: Path, toy_environment: dict[str, str], tmp_path: Path
) -> None:
    done = command(toy_environment, "export", "latest", "-o", str(toy_bundle))
    assert done.returncode == 2 and "exists already" in done.stderr
    environment = {**toy_environment, "CRYOREPRO_HOME": str(tmp_path / "store")}
    succeed(environment, "reproduce", "toy", "--json")
    run = next((tmp_path / "store" / "runs").iterdir())
    (run / "seal.json").unlink()
    done = command(environment, "export", run.name, "-o", str(tmp_path / "a.zip"))
    assert done.returncode == 2 and "has not ended" in done.stderr
    assert not (tmp_path / "a.zip").exists()


def test_a_failed_run_leaves_as_well_and_says_so(toy_environment: dict[str, str], tmp_path: Path) -> None:
    environment = {**toy_environment, "CRYOREPRO_HOME": str(tmp_path / "store")}
    failed = command(environment, "reproduce", "toy", "--json", "--set", "sum.misbehave=exit:9")
    assert failed.returncode == 6
    bundle = export(environment, "latest", tmp_path / "failed.zip")
    assert "the bundle holds" in succeed(environment, "verify", str(bundle))
    members = members_of(bundle)
    assert b"Verdict: failed" in members["README.md"]
    assert b"FailedActionStatus" in members["ro-crate-metadata.json"]
