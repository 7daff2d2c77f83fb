"""A whole run on a master through ``cryorepro reproduce``: outcomes measured here, nothing secret written down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryorepro_cryosparc.settings import VARIABLE

from tests.conftest import Command
from tests.plugins.cryosparc.master import serving
from tests.plugins.cryosparc.test_runner import PASSWORD, configure

SPEC = """
schema_version: 1
name: on-a-master
version: "1.0"
title: Particles to a map on a master
summary: Classes, a selection by rule, a first map and a refinement, all carried out by CryoSPARC.
dataset: empiar-10028
default_runner: cryosparc
sources: [a test]
tiers: {twin: {parameters: {particles: 30}}}
stages:
  - {name: classes, kind: class2d, inputs: {particles: data.particles}, parameters: {number_of_classes: 3}}
  - {name: select, kind: classselection, inputs: {particles: classes.particles, classes: classes.classes},
     parameters: {largest_classes: 2}}
  - {name: first, kind: initialmodel, inputs: {particles: select.particles}, parameters: {number_of_classes: 1}}
  - {name: refine, kind: nonuniformrefinement, inputs: {particles: select.particles, reference: first.map}}
outcomes:
  - {name: half-maps, metric: half_map_fsc, stage: refine}
"""


def test_a_run_on_a_master(cryorepro: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    with serving(tmp_path / "CS-project") as (master, url):
        monkeypatch.setenv(VARIABLE, str(configure(tmp_path / "cryosparc.yaml", url)))
        master.failing = {"homo_abinit"}
        failed = cryorepro("reproduce", str(spec))
        assert failed.returncode == 6 and "J4 (homo_abinit) failed: CUDA out of memory" in failed.stderr, failed.stdout
        master.failing = set()
        done = cryorepro("reproduce", str(spec))
        assert done.returncode in (0, 3), done.stdout + done.stderr
    record = json.loads(cryorepro("show", "latest", "--json").stdout)
    refine = record["stages"]["refine"]
    assert refine["status"] == "completed" and refine["seed_read_back"] == refine["seed"]
    assert refine["numbers"]["cryosparc_seconds"] == 100.0
    assert any("nonuniform_refine_new" in note and "v5.0.3" in note for note in refine["notes"])
    outcome = record["outcomes"]["half-maps"]
    assert outcome["status"] == "measured" and outcome["value"]["box_px"] == 16, "from the half maps, not as reported"
    for path in home.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl", ".yaml", ".txt"):
            assert PASSWORD not in path.read_text(errors="replace"), path


def test_an_interrupted_run_goes_on_with_the_jobs_it_left(
    cryorepro: Command, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    with serving(tmp_path / "CS-project") as (master, url):
        monkeypatch.setenv(VARIABLE, str(configure(tmp_path / "cryosparc.yaml", url)))
        master.held = {"class_2D_new"}
        process = subprocess.Popen(
            [sys.executable, "-m", "cryorepro", "reproduce", str(spec)], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not any(job["status"] == "running" for job in master.of_type("class_2D_new")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        master.held = set()
        done = cryorepro("resume", "latest")
        assert done.returncode in (0, 3), done.stdout + done.stderr
        assert len(master.of_type("class_2D_new")) == len(master.of_type("import_particles")) == 1
    record = json.loads(cryorepro("show", "latest", "--json").stdout)
    assert [attempt["status"] for attempt in record["attempts"]] == ["interrupted", "completed"]
    assert record["stages"]["classes"]["attempts"][1]["resumed"]
