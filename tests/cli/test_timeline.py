"""``cryorepro timeline``: a run's samples as a table, as JSON, as a drawing."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import Command


@pytest.mark.usefixtures("toy")
def test_a_run_keeps_a_timeline_and_says_what_perturbed_it(cryorepro: Command, toy: Path, tmp_path: Path) -> None:
    done = cryorepro("reproduce", "toy", "--cache", "cold", "--set", "sum.seconds_per_step=0.35")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(cryorepro("timeline", "--json").stdout)
    assert row["stage"] == "sum"
    assert row["samples"] >= 2
    assert row["peak"]["stage_memory_bytes"] > 1e6
    assert row["inputs_cached_at_start"] == 0.0, "cold was asked for, and this filesystem drops pages"
    assert "warm-cache" not in [flag["reason"] for flag in row["perturbed"]]
    (stage,) = json.loads(cryorepro("show", "latest", "--json").stdout)["stages"].values()
    assert stage["perturbed"] == row["perturbed"]
    (run,) = (toy / "runs").iterdir()
    assert not list(run.glob("attempts/*/timeline.jsonl")), "the samples lie in one file of the run"
    machine = json.loads(cryorepro("compare", "latest", "latest", "--json").stdout)["machine"]
    assert machine["same"] > 100
    assert machine["science"] == machine["performance"] == []
    path = tmp_path / "t.svg"
    assert cryorepro("timeline", "-o", str(path)).returncode == 0
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    again = cryorepro("timeline", "-o", str(path))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert cryorepro("timeline", "-o", str(tmp_path / "t.png")).returncode == 2


@pytest.mark.usefixtures("toy")
def test_another_word_for_the_cache_is_refused(cryorepro: Command) -> None:
    done = cryorepro("reproduce", "toy", "--cache", "hot")
    assert (done.returncode, "--cache hot" in done.stderr) == (2, True)
