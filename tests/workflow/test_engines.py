"""Our engines as a person runs them: the same bits on any number of threads, and stages shared with RELION."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("--set", "data.particles=90", "--set", "class3d.iterations=3", "--set", "class3d.healpix_order=1")


def reproduce(cryorepro: Command, *arguments: str) -> dict[str, object]:
    done = cryorepro("reproduce", *arguments)
    assert done.returncode in (0, 3), done.stdout + done.stderr  # so small a run need not separate anything
    shown = cryorepro("show", "latest", "--json")
    content: dict[str, object] = json.loads(shown.stdout)
    assert content["status"] == "completed"
    return content


def hashes(record: dict[str, object], stage: str) -> dict[str, str]:
    return {entry["role"]: entry["sha256"] for entry in record["stages"][stage]["outputs"]}


def test_cpu_only_gives_the_same_bits_on_one_and_on_two_threads(cryorepro: Command, home: Path) -> None:
    one, two, other = (
        reproduce(cryorepro, "empiar-10028", "--runner", "cpu-only", *SMALL, *more)
        for more in (("--threads", "1"), ("--threads", "2"), ("--threads", "2", "--seed", "2"))
    )
    maps = {role: digest for role, digest in hashes(one, "class3d").items() if role.startswith("class")}
    assert len(maps) == 3
    assert hashes(two, "class3d").items() >= maps.items()
    assert hashes(other, "class3d")["class001"] != maps["class001"]
    files = [{entry["role"]: entry["sha256"] for entry in record["data"]["files"]} for record in (one, other)]
    assert files[0] == files[1]


MIXED = """
schema_version: 1
name: mixed
version: "1.0"
title: Two programs, one pipeline
summary: A classification whose first map makes a mask.
dataset: empiar-10028
sources: [a test]
tiers: {twin: {parameters: {particles: 90}}}
stages:
  - name: class3d
    kind: class3d
    inputs: {particles: data.particles, reference: data.reference}
    parameters: {number_of_classes: 1, iterations: 1, healpix_order: 1, particle_diameter_angstrom: 360,
                 ini_high_angstrom: 60, zero_mask: true, flatten_solvent: true, firstiter_cc: true}
  - name: mask
    kind: maskcreate
    inputs: {map: class3d.class001}
    parameters: {threshold: 0.001, extend_px: 2, soft_edge_px: 3}
outcomes:
  - {name: resolution, metric: class3d_resolution, stage: class3d}
"""


@pytest.mark.parametrize(("first", "second"), [("relion", "relion-like"), ("relion-like", "relion")])
def test_a_stage_of_one_program_feeds_a_stage_of_the_other(
    cryorepro: Command, home: Path, tmp_path: Path, first: str, second: str
) -> None:
    spec = tmp_path / "mixed.yaml"
    spec.write_text(MIXED)
    record = reproduce(cryorepro, str(spec), "--runner", f"class3d={first},mask={second}")
    stages = record["stages"]
    assert [stages[name]["runner"] for name in ("class3d", "mask")] == [first, second]
    entry = next(entry for entry in stages["mask"]["inputs"] if entry["role"] == "map")
    assert entry["from_stage"] == "class3d"
    assert entry["sha256"] == hashes(record, "class3d")["class001"]
    assert stages["mask"]["status"] == "completed"


def test_a_dry_run_shows_the_published_options_and_runs_nothing(cryorepro: Command, home: Path) -> None:
    done = cryorepro("reproduce", "empiar-10028", "--runner", "relion", "--dry-run", *SMALL[:2])
    assert done.returncode == 0, done.stderr
    for option in ("--firstiter_cc", "--ini_high 60", "--ctf_corrected_ref", "--tau2_fudge 4", "--iter 25"):
        assert option in done.stdout
    assert "relion_refine" in done.stdout
    assert not list(home.glob("runs/*"))
