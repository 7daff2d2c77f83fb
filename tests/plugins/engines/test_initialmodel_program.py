"""The initialmodel stage: from plan to result, taken up again, refused; and the same request to the real RELION."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import RelionLikeRunner
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.model.stage import StageCommand, StageFailure, StageRequest
from tests.em.simulated import simulated_set, write_set

BOX, COUNT, PIXEL = 32, 60, 15.08
PARAMETERS = {
    "number_of_classes": 2, "particle_diameter_angstrom": 330.0, "initial_iterations": 3, "inbetween_iterations": 4,
    "final_iterations": 2, "initial_subset": 20, "final_subset": 30, "initial_resolution_angstrom": 60.0,
    "final_resolution_angstrom": 45.0, "healpix_order": 0, "offset_range_px": 2.0, "write_every": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("particles")
    data = simulated_set(COUNT, box_px=BOX, pixel_size_angstrom=PIXEL, snr=0.6, seed=2, shift_px=0.7)
    return write_set(data, folder)


def _request(star: Path, output: Path, **changes: Any) -> StageRequest:
    own = {name: changes.pop(name) for name in list(changes) if name in StageRequest.model_fields}
    output.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "stage": "first", "kind": "initialmodel", "inputs": {"particles": star}, "output_dir": output, "seed": 11,
        "parameters": PARAMETERS | changes,
    }  # fmt: skip
    return StageRequest(**fields | own)


def _carry_out(command: StageCommand, log: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | dict(command.environment)
    done = subprocess.run(
        command.argv, cwd=command.cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    log.write_text(done.stdout + done.stderr)
    return done


@pytest.fixture(scope="module")
def finished(star: Path, tmp_path_factory: pytest.TempPathFactory) -> StageRequest:
    asked = _request(star, tmp_path_factory.mktemp("job"), symmetry="C2")
    done = _carry_out(RelionLikeRunner().plan(asked), asked.output_dir / "log.txt")
    assert done.returncode == 0, done.stderr
    return asked


def test_a_job_from_plan_to_result(finished: StageRequest) -> None:
    result = RelionLikeRunner().collect(finished, finished.output_dir / "log.txt")
    assert (result.iterations, result.seed, result.rows) == (9, 11, {"particles": COUNT})
    assert set(result.outputs) == {"particles", "model", "optimiser", "class001", "class002", "map"}
    volume, pixel = read_map(finished.output_dir / result.outputs["map"])
    assert volume.shape == (BOX,) * 3 and pixel == pytest.approx(PIXEL) and volume.std() > 0
    progress = RelionLikeRunner().progress(finished)
    assert progress is not None and (progress.iteration, progress.of) == (9, 9)
    written = {path.name.split("_")[1] for path in finished.output_dir.glob("run_it*")}
    assert written == {"it000", "it003", "it006", "it009"}
    table = read_particles(finished.output_dir / result.outputs["particles"])
    assert set(np.unique(table.columns["rlnClassNumber"])) <= {1, 2}


def test_the_symmetry_is_found_in_the_finished_map_and_imposed(finished: StageRequest) -> None:
    assert "axes of C2" in (finished.output_dir / "log.txt").read_text()
    volume, _ = read_map(finished.output_dir / "initial_model.mrc")
    inner = (slice(6, 26),) * 3
    turned = np.roll(volume[:, ::-1, ::-1], (1, 1), (1, 2))
    assert np.corrcoef(volume[inner].ravel(), turned[inner].ravel())[0, 1] > 0.98
    before = [read_map(finished.output_dir / f"run_it009_class00{k}.mrc")[0] for k in (1, 2)]
    assert all(np.corrcoef(v[inner].ravel(), np.roll(v[:, ::-1, ::-1], (1, 1), (1, 2))[inner].ravel())[0, 1] < 0.98
               for v in before)  # fmt: skip


def test_a_job_taken_up_again_ends_with_the_same_bytes(finished: StageRequest, star: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished.output_dir, again)
    (again / "run_it009_optimiser.star").unlink()  # as if killed while iteration 9 was written
    (again / "run_it009_class001.mrc").write_bytes(b"torn")
    (again / "initial_model.mrc").unlink()
    asked = _request(star, again, symmetry="C2", resume=True, threads=2)
    done = _carry_out(RelionLikeRunner().plan(asked), again / "log.txt")
    assert done.stdout.splitlines()[0] == "resuming after iteration 6"
    for name in ("run_it009_class001.mrc", "run_it009_class002.mrc", "run_it009_data.star", "initial_model.mrc"):
        assert (again / name).read_bytes() == (finished.output_dir / name).read_bytes(), name


def test_what_cannot_be_done_is_said_in_one_sentence(finished: StageRequest, star: Path, tmp_path: Path) -> None:
    def ends(**changes: Any) -> str:
        asked = _request(star, tmp_path / "refused", **changes)
        done = _carry_out(RelionLikeRunner().plan(asked), tmp_path / "log.txt")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "final_resolution_angstrom (80) is coarser" in ends(final_resolution_angstrom=80.0)
    assert "device 'tpu' is none of cpu, cuda and cuda:N" in ends(device="tpu")
    again = tmp_path / "refused"
    shutil.copytree(finished.output_dir, again, dirs_exist_ok=True)
    assert "other parameters" in ends(resume=True, step_size=0.4)


def test_a_missing_final_map_is_not_a_finished_job(finished: StageRequest, star: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.output_dir, tmp_path / "job")
    (tmp_path / "job" / "initial_model.mrc").unlink()
    with pytest.raises(StageFailure, match="initial_model.mrc"):
        RelionLikeRunner().collect(_request(star, tmp_path / "job", symmetry="C2"), tmp_path / "log.txt")


def test_the_real_relion_carries_out_the_same_request(star: Path, tmp_path: Path) -> None:
    phases = {"initial_iterations": 1, "inbetween_iterations": 0, "final_iterations": 2}
    short = phases | {"padding": 1, "offset_range_px": 0.0, "oversampling": 0, "write_every": 1}
    asked = _request(star, tmp_path / "job", **short)
    done = _carry_out(RelionRunner().plan(asked), tmp_path / "log.txt")
    assert done.returncode == 0, done.stderr
    result = RelionRunner().collect(asked, tmp_path / "log.txt")
    assert (result.iterations, result.seed, result.rows) == (3, 11, {"particles": COUNT})
    assert result.outputs["map"] in (result.outputs["class001"], result.outputs["class002"])
    progress = RelionRunner().progress(asked)
    assert progress is not None and (progress.iteration, progress.of) == (3, 3)


def test_a_model_changes_hands_both_ways(star: Path, tmp_path: Path) -> None:
    """Ours goes on from RELION's iteration; RELION goes on from ours as from a classification."""
    phases = {"initial_iterations": 1, "inbetween_iterations": 0, "final_iterations": 1}
    same = {"padding": 1, "offset_range_px": 0.0, "oversampling": 0, "write_every": 1}
    theirs = _request(star, tmp_path / "job", **phases, **same)
    assert _carry_out(RelionRunner().plan(theirs), tmp_path / "log.txt").returncode == 0
    ours = _request(star, tmp_path / "job", **(phases | {"final_iterations": 3}), **same)
    done = _carry_out(RelionLikeRunner().plan(ours.model_copy(update={"resume": True})), tmp_path / "log.txt")
    assert done.returncode == 0, done.stderr
    assert "resuming after iteration 2 of RELION's files" in (tmp_path / "log.txt").read_text()
    assert RelionLikeRunner().collect(ours, tmp_path / "log.txt").iterations == 4
    command = ["relion_refine", "--continue", "run_it004_optimiser.star", "--o", "./run_ct4", "--iter", "5", "--j", "1"]
    subprocess.run(command, cwd=ours.output_dir, check=True, capture_output=True, timeout=300)
    found = read_particles(ours.output_dir / "run_ct4_it005_data.star")
    assert len(found) == COUNT and (found.numbers("rlnMaxValueProbDistribution") > 0).all()


def test_what_relion_cannot_do_is_refused_before_it_starts(star: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run_in_c1: false"):
        RelionRunner().plan(_request(star, tmp_path / "job", symmetry="C2"))
    with pytest.raises(InputError, match="final_step_size"):
        RelionRunner().plan(_request(star, tmp_path / "job", final_step_size=0.1))
    with pytest.raises(InputError, match="noise_factor"):
        RelionRunner().plan(_request(star, tmp_path / "job", noise_factor=4.0))
    with pytest.raises(InputError, match="particle_diameter_angstrom is not given"):
        RelionRunner().plan(_request(star, tmp_path / "job", particle_diameter_angstrom=None))
