"""Stages that no runner can carry out: valid in a benchmark, refused by name when a run is planned, never skipped."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryorepro_engines.plugin import STAGES

from cryorepro.model.benchmark import Benchmark
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.shipped import shipped
from cryorepro.model.strict_yaml import load_record
from cryorepro.plugins.loader import load_catalogue
from cryorepro.workflow.options import RunOptions
from cryorepro.workflow.plan import StageRefused, make_plan

Command = Callable[..., subprocess.CompletedProcess[str]]
REFUSED = {"empiar-10002", "empiar-10204", "empiar-10338"}  # a search around known angles, and polishing
SPECS = {path.stem: load_record(path, Benchmark) for path in sorted(shipped("specs").glob("*.yaml"))}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_first_stage_that_nobody_can_run_is_refused_by_name(name: str) -> None:
    benchmark = SPECS[name]
    tier = next(iter(benchmark.tiers))
    first = next(stage for stage in benchmark.stages if stage.kind not in STAGES)
    expected = f"runner 'relion-like' cannot run stage '{first.name}' of kind {first.kind} "
    with pytest.raises(StageRefused) as refused:
        make_plan(load_catalogue(), shipped("specs") / f"{name}.yaml", RunOptions(tier=tier))
    assert str(refused.value).startswith(expected)


@pytest.mark.parametrize("name", sorted(set(SPECS) - REFUSED))
def test_a_benchmark_that_runs_here_is_planned_whole(name: str) -> None:
    for tier in SPECS[name].tiers:
        plan = make_plan(load_catalogue(), shipped("specs") / f"{name}.yaml", RunOptions(tier=tier))
        assert [stage.name for stage in plan.stages] == [stage.name for stage in SPECS[name].stages]


def test_every_benchmark_is_registered_and_answers_to_its_file_name() -> None:
    registered = {entry.name for entry in load_catalogue().all("specs")}
    assert registered >= set(SPECS)
    assert all(benchmark.name == name for name, benchmark in SPECS.items())


def test_reproduce_refuses_before_anything_is_written(cryorepro: Command, home: Path) -> None:
    done = cryorepro("reproduce", "empiar-10204", "--tier", "subset")
    assert done.returncode == 2
    assert "runner 'relion-like' cannot run stage 'polish-train' of kind polish" in done.stderr
    assert not list(home.glob("runs/*"))


def test_validate_notes_such_a_stage_and_still_checks_its_parameters(cryorepro: Command, tmp_path: Path) -> None:
    text = (shipped("specs") / "empiar-10288.yaml").read_text()
    done = cryorepro("validate", str(shipped("specs") / "empiar-10288.yaml"))
    assert done.returncode == 0
    assert "note:" not in done.stdout
    other = cryorepro("validate", str(shipped("specs") / "empiar-10204.yaml"))
    assert other.returncode == 0
    assert "note: no installed runner can carry out stage 'polish-train' of kind polish" in other.stdout
    for right, wrong, named in (
        ("lowest_ncc: 0.34", "lowest_ncc: 1.34", "'inspection' (pickinspection), parameter 'lowest_ncc'"),
        ("box_px: 320", "box: 320", "'extraction-1' (extraction), parameter 'box'"),
        ("kind: nonuniformrefinement", "kind: nurefined", "no parameters are known for a stage of kind 'nurefined'"),
        ("rescaled_box_px: 256", "rescaled_box_px: 361", "rescaled_box_px (361) exceeds box_px (360)"),
    ):
        assert right in text
        path = tmp_path / "spec.yaml"
        path.write_text(text.replace(right, wrong))
        done = cryorepro("validate", str(path))
        assert done.returncode == 2, wrong
        assert named in done.stderr


def test_kinds_are_declared_once_and_with_defaults_that_hold() -> None:
    used = {stage.kind for benchmark in SPECS.values() for stage in benchmark.stages}
    assert used <= set(KNOWN_PARAMETERS)
    for kind, model in KNOWN_PARAMETERS.items():
        assert model.model_json_schema()["additionalProperties"] is False, kind
