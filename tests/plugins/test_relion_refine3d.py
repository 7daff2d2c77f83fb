"""Gold-standard refinement, mask and post-processing by the real RELION, one after the other."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.star import read_star
from cryorepro.model.stage import StageFailure, StageRequest, StageResult
from tests.plugins.relion_set import (
    BOX,
    PARTICLES,
    PIXEL_SIZE,
    SEED,
    carry_out,
    collect,
    finished,
    request,
    start,
    write_set,
)

RUNNER = RelionRunner()


@pytest.fixture(scope="module")
def refined() -> StageRequest:
    return finished("refine3d")


@pytest.fixture(scope="module")
def masked(refined: StageRequest, tmp_path_factory: pytest.TempPathFactory) -> StageRequest:
    volume, _ = read_map(refined.output_dir / "run_class001.mrc")
    threshold = float(np.quantile(volume, 0.97))
    inputs = {"map": refined.output_dir / "run_class001.mrc"}
    output = tmp_path_factory.mktemp("a mask")
    changes: dict[str, Any] = {"threshold": threshold, "lowpass_angstrom": 40, "extend_px": 1, "soft_edge_px": 3}
    asked = request(Path(), output, "maskcreate", inputs=inputs, **changes)
    assert carry_out(asked) == 0
    return asked


def postprocess_of(halves: list[Path], mask: Path, output: Path, **changes: Any) -> StageRequest:
    inputs = {"half1": halves[0], "half2": halves[1], "mask": mask}
    return request(Path(), output, "postprocess", inputs=inputs, **({"lowest_resolution_angstrom": 60} | changes))


def test_a_refinement_from_plan_to_result(refined: StageRequest) -> None:
    result = collect(refined)
    assert set(result.outputs) == {"map", "particles", "model", "half1", "half2"}
    assert result.seed == SEED and result.rows == {"particles": PARTICLES}
    assert result.iterations is not None and result.iterations >= 2
    assert 2 * PIXEL_SIZE <= result.numbers["current_resolution_angstrom"] <= BOX * PIXEL_SIZE
    halves = read_particles(refined.output_dir / result.outputs["particles"]).column("rlnRandomSubset")
    assert sorted(set(halves.tolist())) == [1, 2]
    first, second = (read_map(refined.output_dir / result.outputs[f"half{k}"])[0] for k in (1, 2))
    assert not np.array_equal(first, second)


def test_a_refinement_without_its_unnumbered_files_did_not_converge(tmp_path: Path) -> None:
    asked = request(write_set(tmp_path), tmp_path / "job", "refine3d", maximum_iterations=1)
    assert carry_out(asked) == 0
    with pytest.raises(StageFailure, match="did not converge") as caught:
        collect(asked)
    assert caught.value.failure_class == "incomplete-output"
    seen = RUNNER.progress(asked)
    assert seen is not None and seen.iteration == 1


def test_mpirun_killed_outright_leaves_no_rank_behind_and_a_job_to_continue(tmp_path: Path) -> None:
    asked = request(write_set(tmp_path), tmp_path / "job", "refine3d")
    process = start(RUNNER.plan(asked), asked.output_dir)
    ranks: list[psutil.Process] = []
    try:
        while process.poll() is None:
            seen = RUNNER.progress(asked)
            if seen is not None and seen.iteration >= 1:
                ranks = psutil.Process(process.pid).children(recursive=True)
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        assert process.wait(timeout=60) == -signal.SIGKILL
    finally:
        process.kill()
    assert len(ranks) == 3
    _, alive = psutil.wait_procs(ranks, timeout=0.5)
    assert [rank for rank in alive if rank.status() != psutil.STATUS_ZOMBIE] == []
    again = asked.model_copy(update={"resume": True})
    command = RUNNER.plan(again)
    assert "--continue" in command.argv
    assert start(command, again.output_dir).wait(timeout=300) == 0
    result = collect(again)
    assert all(path.name.startswith("run_ct") for path in result.outputs.values())
    assert result.seed == SEED and "resumed" in result.notes[0]


def test_a_mask_from_plan_to_result(masked: StageRequest) -> None:
    result = collect(masked)
    assert result.outputs == {"mask": Path("mask.mrc")} and result.seed is None
    mask, pixel_size = read_map(masked.output_dir / "mask.mrc")
    assert pixel_size == PIXEL_SIZE and mask.min() >= 0 and mask.max() == 1
    assert result.numbers["mask_fraction_of_box"] == pytest.approx(mask.mean(dtype=np.float64))


@pytest.mark.parametrize("fill", [0.0, 1.0, 7.0, np.nan])
def test_what_is_no_mask_fails_the_stage(masked: StageRequest, fill: float) -> None:
    path = masked.output_dir / "mask.mrc"
    whole = path.read_bytes()
    path.write_bytes(whole[:1024] + np.full(BOX**3, fill, np.float32).tobytes())
    try:
        with pytest.raises(StageFailure, match="mask.mrc"):
            collect(masked)
    finally:
        path.write_bytes(whole)


def test_postprocessing_from_plan_to_result(refined: StageRequest, masked: StageRequest, tmp_path: Path) -> None:
    mask = masked.output_dir / "mask.mrc"
    halves = [refined.output_dir / f"run_half{k}_class001_unfil.mrc" for k in (1, 2)]
    asked = postprocess_of(halves, mask, tmp_path / "a job")
    result = run(asked)
    assert set(result.outputs) == {"map", "masked", "star", "fsc_xml"} and result.seed == SEED
    general = read_star(asked.output_dir / "postprocess.star")["general"]
    assert result.numbers["final_resolution_angstrom"] == float(general.value("rlnFinalResolution"))
    assert 0 < result.numbers["sphere_to_mask_volume_ratio"] <= 100


def test_mask_and_postprocessing_by_one_runner_of_what_the_other_made(
    refined: StageRequest, masked: StageRequest, tmp_path: Path
) -> None:
    """Ours masks and post-processes RELION's halves; RELION post-processes within our mask."""
    ours = RelionLikeRunner()
    mine = masked.model_copy(update={"output_dir": tmp_path / "mask"})
    assert start(ours.plan(mine), mine.output_dir).wait(timeout=120) == 0
    mask = mine.output_dir / ours.collect(mine, tmp_path).outputs["mask"]
    halves = [refined.output_dir / f"run_half{k}_class001_unfil.mrc" for k in (1, 2)]
    given: dict[str, Any] = {"automatic_bfactor": False, "bfactor_angstrom2": -50}
    theirs = run(postprocess_of(halves, mask, tmp_path / "relion", **given))
    asked = postprocess_of(halves, mask, tmp_path / "ours", **given)
    assert start(ours.plan(asked), asked.output_dir).wait(timeout=120) == 0
    result = ours.collect(asked, tmp_path)
    assert set(result.outputs) == set(theirs.outputs)
    name = "sphere_to_mask_volume_ratio"
    assert result.numbers[name] == pytest.approx(theirs.numbers[name], rel=1e-3)


def test_half_maps_of_another_runner_under_other_names(
    refined: StageRequest, masked: StageRequest, tmp_path: Path
) -> None:
    names = ("odd half.mrc", "even half.map")
    for k, name in enumerate(names, start=1):
        volume, pixel_size = read_map(refined.output_dir / f"run_half{k}_class001_unfil.mrc")
        write_map(tmp_path / name, volume, pixel_size)
    halves = [tmp_path / name for name in names]
    asked = postprocess_of(
        halves, masked.output_dir / "mask.mrc", tmp_path / "job", automatic_bfactor=False, bfactor_angstrom2=-50
    )
    assert run(asked).numbers["bfactor_angstrom2"] == -50


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("rlnFinalResolution", "0.0"),
        ("rlnFinalResolution", "inf"),
        ("rlnFinalResolution", "2.0"),
        ("rlnParticleBoxFractionSolventMask", "7616.0"),
        ("rlnBfactorUsedForSharpening", "nan"),
    ],
)
def test_figures_that_cannot_be_fail_the_stage(
    refined: StageRequest, masked: StageRequest, tmp_path: Path, label: str, value: str
) -> None:
    halves = [refined.output_dir / f"run_half{k}_class001_unfil.mrc" for k in (1, 2)]
    asked = postprocess_of(halves, masked.output_dir / "mask.mrc", tmp_path / "job")
    run(asked)
    star = asked.output_dir / "postprocess.star"
    lines = [f"_{label} {value}" if line.startswith(f"_{label} ") else line for line in star.read_text().split("\n")]
    star.write_text("\n".join(lines))
    with pytest.raises(StageFailure, match=label):
        collect(asked)


def run(asked: StageRequest) -> StageResult:
    assert carry_out(asked) == 0
    return collect(asked)
