"""A run from the command line: its record, and outcomes that only count with lineage."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


def last_result(output: str) -> dict[str, object]:
    lines = [json.loads(line) for line in output.splitlines()]
    return next(line for line in reversed(lines) if line["event"] == "result")


def run_toy(cryorepro: Command, *arguments: str) -> dict[str, object]:
    done = cryorepro("reproduce", "toy", "--json", *arguments)
    assert done.stderr == "" or done.returncode != 0, done.stderr
    return last_result(done.stdout) | {"rc": done.returncode}


def record(cryorepro: Command, run: object) -> dict[str, object]:
    done = cryorepro("show", str(run), "--json")
    assert done.returncode == 0, done.stderr
    content: dict[str, object] = json.loads(done.stdout)
    return content


@pytest.mark.usefixtures("toy")
def test_a_run_records_what_it_was_asked_what_it_did_and_what_it_found(cryorepro: Command, toy: Path) -> None:
    result = run_toy(cryorepro)
    assert (result["status"], result["verdict"], result["rc"]) == ("completed", "within-band-n1", 0)
    seen = record(cryorepro, result["run"])
    stage = seen["stages"]["sum"]
    assert stage["iterations"] == 10
    assert stage["seed_read_back"] == stage["seed"]
    assert stage["argv"][1:3] == ["-m", "cryorepro_toy.program"]
    assert {entry["role"] for entry in stage["inputs"]} == {"numbers"}
    assert all(len(entry["sha256"]) == 64 for entry in [*stage["inputs"], *stage["outputs"]])
    assert stage["usage"]["cpu_seconds"] > 0
    assert stage["usage"]["peak_memory_bytes"] > 1_000_000
    # Ten states and a result, each a new file of a page; a file system in memory (device major 0) writes no storage.
    assert stage["usage"]["written_bytes"] >= (11 * 4096 if os.major(toy.stat().st_dev) else 0)
    assert seen["outcomes"]["total"]["value"]["value"] == 4950
    assert seen["integrity"] == {"intact": True, "sealed": True, "reason": ""}
    assert {probe["name"] for probe in seen["fingerprint"]} >= {"cpu", "memory", "gpu", "python"}


@pytest.mark.parametrize("way", ["link", "hardlink", "copy"])
@pytest.mark.usefixtures("toy")
def test_an_earlier_runs_file_left_in_place_is_no_outcome(cryorepro: Command, toy: Path, way: str) -> None:
    first = run_toy(cryorepro)
    earlier = next((toy / "runs" / str(first["run"])).glob("stages/*/result.json"))
    result = run_toy(cryorepro, "--set", f"sum.misbehave={way}:{earlier}")
    assert (result["status"], result["rc"]) == ("failed", 6)
    seen = record(cryorepro, result["run"])
    assert seen["stages"]["sum"]["attempts"][0]["exit_code"] == 0
    assert "no lineage in this run" in seen["reason"]
    assert seen["outcomes"] == {}
    assert [verdict["axis_outcome"] for verdict in seen["verdicts"]] == ["failed"]


@pytest.mark.usefixtures("toy")
def test_a_retouched_copy_is_given_away_by_its_seed(cryorepro: Command, toy: Path) -> None:
    first = run_toy(cryorepro)
    earlier = next((toy / "runs" / str(first["run"])).glob("stages/*/result.json"))
    result = run_toy(cryorepro, "--seed", "2", "--set", f"sum.misbehave=retouched:{earlier}")
    assert result["status"] == "failed"
    assert "seed read back" in record(cryorepro, result["run"])["reason"]


@pytest.mark.parametrize(
    ("misbehaviour", "code", "words"),
    [
        ("exit:2", 2, "data: stage 'sum' (toy): numbers.txt: field 'x' is not a number"),
        ("exit:9", 6, "exit code 9"),
        ("signal:SIGSEGV", 6, "signal 11"),
        ("signal:SIGKILL", 6, "resource: stage 'sum' (toy): killed by signal 9"),
        ("nothing", 6, "result.json was not written"),
    ],
)
@pytest.mark.usefixtures("toy")
def test_a_failed_stage_is_an_event_with_its_class(
    cryorepro: Command, misbehaviour: str, code: int, words: str
) -> None:
    result = run_toy(cryorepro, "--set", f"sum.misbehave={misbehaviour}")
    assert (result["status"], result["rc"]) == ("failed", code)
    assert words in str(record(cryorepro, result["run"])["reason"])


@pytest.mark.usefixtures("toy")
def test_stages_cannot_read_the_truth(cryorepro: Command, toy: Path) -> None:
    from cryorepro.workflow import sandbox

    assert sandbox.supported(), "this kernel has no Landlock: the truth is only hidden, which docs/ says"
    result = run_toy(cryorepro, "--set", f"sum.misbehave=peek:{toy}")
    assert "exit code 3" in str(record(cryorepro, result["run"])["reason"])


@pytest.mark.usefixtures("toy")
def test_data_that_do_not_fit_end_the_run_with_one_sentence(cryorepro: Command) -> None:
    done = cryorepro("reproduce", "toy", "--set", "data.fail=1")
    assert done.returncode == 2
    assert "numbers.txt: field 'count' is missing" in done.stderr


@pytest.mark.usefixtures("toy")
def test_a_prepared_file_that_changed_is_refused(cryorepro: Command, toy: Path) -> None:
    run_toy(cryorepro)
    next((toy / "data").rglob("numbers.txt")).write_text("1\n2\n")
    done = cryorepro("reproduce", "toy")
    assert done.returncode == 2
    assert "changed since it was prepared" in done.stderr
