"""A whole run on a master through ``cryorepro reproduce``: outcomes measured here, nothing secret written down."""

from __future__ import annotations

import json
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
  - {name: refine, kind: nurefine, inputs: {particles: select.particles, reference: first.map}}
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
