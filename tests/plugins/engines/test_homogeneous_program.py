"""The homogeneous and non-uniform programs at their boundary: files others accept, resume, bad input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import RelionLikeRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.star import read_star
from cryorepro.em.postprocess import postprocess
from cryorepro.em.sharpening import Sharpening
from cryorepro.model.stage import StageFailure, StageRequest
from tests.em.simulated import simulated_set, write_set

ROWS, BOX, PIXEL, ITERATIONS = 60, 32, 14.0, 3
PARAMETERS: dict[str, Any] = {
    "particle_diameter_angstrom": 360.0, "ini_high_angstrom": 50.0, "healpix_order": 2, "shift_range_px": 3.0,
    "maximum_iterations": ITERATIONS,
}  # fmt: skip
RUNNER = RelionLikeRunner()
KINDS = ["homogeneousrefinement", "nonuniformrefinement"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("set")
    data = simulated_set(ROWS, BOX, PIXEL, snr=1.0, shift_px=0.7, shares=(1.0, 0.0, 0.0))
    write_map(folder / "reference.mrc", data.volume(0, 50.0).numpy(), PIXEL)
    return {"particles": write_set(data, folder), "reference": folder / "reference.mrc"}


def _request(kind: str, inputs: dict[str, Path], directory: Path, **changes: Any) -> StageRequest:
    directory.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "stage": "refine", "kind": kind, "parameters": PARAMETERS, "inputs": inputs, "output_dir": directory,
        "seed": 11, "threads": 1,
    }  # fmt: skip
    return StageRequest(**(values | changes))


def _run(request: StageRequest) -> tuple[int, str, str]:
    command = RUNNER.plan(request)
    environment = os.environ | dict(command.environment) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command.argv, env=environment, cwd=command.cwd, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module", params=KINDS)
def finished(
    request: pytest.FixtureRequest, inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> StageRequest:
    asked = _request(request.param, inputs, tmp_path_factory.mktemp(request.param))
    code, out, err = _run(asked)
    assert code == 0, err
    assert "noise-substituted FSC 0.143 at" in out
    return asked


def test_its_files_are_a_refinements_and_post_processing_accepts_them(finished: StageRequest) -> None:
    result = RUNNER.collect(finished, Path("log"))
    own = {"local_lowpass", "local_map"} if finished.kind == "nonuniformrefinement" else set()
    assert set(result.outputs) == {"map", "half1", "half2", "particles", "model", "mask", "fsc"} | own
    assert result.rows == {"particles": ROWS} and result.seed == 11
    maps = {role: read_map(finished.output_dir / result.outputs[role])[0] for role in ("half1", "half2", "mask")}
    made = postprocess(maps["half1"], maps["half2"], maps["mask"], PIXEL, np.random.default_rng(1), Sharpening(-100.0))
    curve = read_star(finished.output_dir / result.outputs["fsc"])["fsc"]
    unmasked = curve.numbers("rlnFourierShellCorrelationUnmaskedMaps")
    np.testing.assert_allclose(made.fsc.unmasked, unmasked, atol=1e-4)
    progress = RUNNER.progress(finished)
    assert progress is not None and progress.iteration >= 1


def test_particles_carry_poses_halves_and_intensities(finished: StageRequest) -> None:
    table = read_particles(finished.output_dir / "run_data.star")
    assert set(table.column("rlnRandomSubset").tolist()) == {1, 2}
    scale = table.column("cryoreproScale")
    assert scale.mean() == pytest.approx(1.0, abs=1e-5) and scale.std() > 0.0
    assert np.isfinite(table.angles_degrees).all() and table.angles_degrees.std() > 10.0


def test_resuming_gives_the_bits_of_an_uninterrupted_run(finished: StageRequest, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished.output_dir, again)
    for name in ("run_it002_*", "run_it003_*", "run_class*", "run_half*", "run_data*", "run_model*"):
        for path in again.glob(name):
            path.unlink()
    code, out, err = _run(finished.model_copy(update={"output_dir": again, "resume": True}))
    assert code == 0, err
    assert "resuming after iteration 1" in out
    for name in ("run_class001.mrc", "run_half1_class001_unfil.mrc"):
        np.testing.assert_array_equal(read_map(again / name)[0], read_map(finished.output_dir / name)[0])


def test_a_missing_mask_file_is_an_incomplete_job(finished: StageRequest, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished.output_dir, again)
    (again / "run_mask.mrc").unlink()
    with pytest.raises(StageFailure, match="run_mask.mrc"):
        RUNNER.collect(finished.model_copy(update={"output_dir": again}), Path("log"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ini_high_angstrom": 5.0}, "Nyquist"),
        ({"mask_far_angstrom": 3.0}, "must exceed"),
        ({"interpolation": "sinc"}, "interpolation"),
    ],
    ids=["low-pass", "mask", "kernel"],
)
def test_bad_parameters_end_with_one_sentence(
    inputs: dict[str, Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    asked = _request(KINDS[0], inputs, tmp_path / "job", parameters=PARAMETERS | changes)
    code, _, err = _run(asked)
    assert code == 2 and len(err.strip().splitlines()) == 1, err
    assert message in err


def test_a_refinement_without_a_reference_is_refused_when_planned(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inputs.reference is not given"):
        RUNNER.plan(_request(KINDS[1], {"particles": inputs["particles"]}, tmp_path / "job"))
