"""The refinement program at its boundary: files, bits, resume, signals, one sentence for bad input."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_datasets.empiar_10146 import Empiar10146

from cryorepro.em import refine3d_files
from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.relion_job import inspect_refine3d, last_iteration
from cryorepro.em.formats.relion_model import read_model
from cryorepro.em.formats.star import read_star
from cryorepro.em.masks import soft_sphere
from cryorepro.em.refine_state import HalfState
from cryorepro.model.dataset import DataRequest, PreparedData
from cryorepro.model.stage import StageRequest
from tests.em.real_data import real_data

ROWS, ITERATIONS = 60, 2
PARAMETERS: dict[str, Any] = {
    "particle_diameter_angstrom": 140.0, "ini_high_angstrom": 30.0, "symmetry": "O", "healpix_order": 1,
    "offset_range_px": 2.0, "offset_step_px": 2.0, "maximum_iterations": ITERATIONS,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    directory = tmp_path_factory.mktemp("apoferritin")
    request = DataRequest(
        tier="subset", directory=directory / "data", truth_directory=directory / "truth", seed=3,
        local_path=real_data("apoferritin_EMPIAR-10146"), parameters={"particles": ROWS},
    )  # fmt: skip
    return Empiar10146().prepare(request)


def _request(data: PreparedData, directory: Path, **changes: Any) -> StageRequest:
    directory.mkdir(exist_ok=True)
    inputs = {role: data.files[role] for role in ("particles", "reference")}
    values: dict[str, Any] = {
        "stage": "refine3d", "kind": "refine3d", "parameters": PARAMETERS, "inputs": inputs,
        "output_dir": directory, "seed": 11, "threads": 1,
    }  # fmt: skip
    return StageRequest(**(values | changes))


def _start(request: StageRequest) -> subprocess.Popen[str]:
    module = "cryorepro_engines.programs.refine3d"
    argv = [sys.executable, "-m", module, "--request-json", request.model_dump_json()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _run(request: StageRequest) -> tuple[int, str, str]:
    process = _start(request)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def finished(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("job")
    code, out, err = _run(_request(data, directory))
    assert code == 0, err
    return directory, out


def _bits(directory: Path) -> dict[str, bytes]:
    names = ("run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_data.star",
             "run_model.star")  # fmt: skip
    return {name: (directory / name).read_bytes() for name in names}


def test_a_finished_job_is_one_in_relions_eyes(finished: tuple[Path, str], data: PreparedData) -> None:
    directory, out = finished
    report = inspect_refine3d(directory, rows=ROWS, box_px=64)
    assert report.optimiser is not None and report.optimiser.random_seed == 11
    assert report.iterations == ITERATIONS and report.numbers["average_pmax"] > 0.0
    assert [line.split()[0] for line in out.splitlines()] == ["iteration"] * ITERATIONS + ["reached"]
    table = read_particles(directory / "run_data.star")
    assert table.image_names == read_particles(data.files["particles"]).image_names
    assert np.bincount(table.column("rlnRandomSubset")).tolist() == [0, 30, 30]
    curve = read_star(directory / "run_model.star")["model_class_1"].numbers("rlnGoldStandardFsc")
    assert len(curve) == 33 and curve[1] > 0.9 and np.abs(curve).max() <= 1.0 + 1e-9
    halves = [read_map(directory / f"run_half{half}_class001_unfil.mrc")[0] for half in (1, 2)]
    assert not np.array_equal(halves[0], halves[1])


def test_the_current_resolution_is_a_shell(finished: tuple[Path, str]) -> None:
    for name in ("run_it001_half1_model.star", "run_it002_half2_model.star", "run_model.star"):
        shell = 192.0 / read_model(finished[0] / name).current_resolution_angstrom
        assert shell == pytest.approx(round(shell), abs=1e-9)


def test_two_workers_give_the_same_bits(finished: tuple[Path, str], data: PreparedData, tmp_path: Path) -> None:
    code, _, err = _run(_request(data, tmp_path, threads=2))
    assert code == 0, err
    assert _bits(tmp_path) == _bits(finished[0])


def test_resuming_gives_the_bits_of_the_uninterrupted_run(
    finished: tuple[Path, str], data: PreparedData, tmp_path: Path
) -> None:
    for path in finished[0].glob("run_it00[01]_*"):
        shutil.copy2(path, tmp_path / path.name)
    (tmp_path / "run_it002_half1_class001.mrc").write_bytes(b"half written")
    code, out, err = _run(_request(data, tmp_path, resume=True))
    assert code == 0, err
    assert out.startswith("resuming after iteration 1\niteration 2/2")
    assert _bits(tmp_path) == _bits(finished[0])


def test_a_signal_ends_it_quickly_with_a_whole_iteration(data: PreparedData, tmp_path: Path) -> None:
    process = _start(_request(data, tmp_path, parameters=PARAMETERS | {"maximum_iterations": 50}, threads=2))
    assert process.stdout is not None
    assert process.stdout.readline().startswith("iteration 1/50")
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert time.monotonic() - sent < 20.0
    found = last_iteration(tmp_path, rows=ROWS, box_px=64, split_halves=True)
    assert found is not None and found.number >= 1
    assert not list(tmp_path.glob("run_class001.mrc"))


def test_a_fresh_start_leaves_nothing_of_an_earlier_job(
    finished: tuple[Path, str], data: PreparedData, tmp_path: Path
) -> None:
    shutil.copytree(finished[0], tmp_path / "again")
    process = _start(_request(data, tmp_path / "again"))
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait(timeout=60)
    assert not (tmp_path / "again" / "run_class001.mrc").exists()


def test_poses_of_the_table_can_be_the_start(data: PreparedData, finished: tuple[Path, str], tmp_path: Path) -> None:
    star = tmp_path / "given.star"
    stack = data.files["stack"]
    star.write_text((finished[0] / "run_data.star").read_text().replace("@particles.mrcs", f"@{stack}"))
    parameters = PARAMETERS | {"use_input_poses": True, "maximum_iterations": 1}
    code, _, err = _run(_request(data, tmp_path / "job", inputs={"particles": star}, parameters=parameters))
    assert code == 0, err
    before, after = read_particles(star), read_particles(tmp_path / "job" / "run_data.star")
    np.testing.assert_array_equal(after.column("rlnRandomSubset"), before.column("rlnRandomSubset"))
    assert inspect_refine3d(tmp_path / "job", rows=ROWS, box_px=64).iterations == 1


def test_a_mask_and_the_fsc_within_it(data: PreparedData, tmp_path: Path) -> None:
    mask = tmp_path / "mask.mrc"
    write_map(mask, soft_sphere(64, 25.0, 3.0).numpy(), 3.0)
    inputs = dict(_request(data, tmp_path / "job").inputs) | {"mask": mask}
    parameters = PARAMETERS | {"solvent_correct_fsc": True, "maximum_iterations": 1, "strict_highres_angstrom": 12.0}
    code, _, err = _run(_request(data, tmp_path / "job", inputs=inputs, parameters=parameters))
    assert code == 0, err
    volume, _ = read_map(tmp_path / "job" / "run_it001_half1_class001.mrc")
    assert np.abs(volume[soft_sphere(64, 25.0, 3.0).numpy() == 0.0]).max() == 0.0
    general = read_star(tmp_path / "job" / "run_it001_optimiser.star")["optimiser_general"]
    assert general.value("rlnDoSolventFscCorrection") == "1"
    assert general.value("rlnSolventMaskName") == "../mask.mrc"
    assert float(general.value("rlnHighresLimitExpectation")) == 12.0


def test_bad_input_is_one_sentence_and_exit_code_2(data: PreparedData, tmp_path: Path) -> None:
    small = tmp_path / "small.mrc"
    write_map(small, np.ones((32, 32, 32), dtype=np.float32), 3.0)
    inputs = dict(_request(data, tmp_path).inputs)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"inputs": inputs | {"reference": small}}, "small.mrc"),
        ({"inputs": {"particles": inputs["particles"]}}, "inputs.reference is not given"),
        ({"parameters": PARAMETERS | {"nonsense": 1}}, "nonsense"),
        ({"parameters": PARAMETERS | {"ini_high_angstrom": 2.0}}, "Nyquist"),
        ({"device": "cuda"}, "cuda"),
        ({"parameters": PARAMETERS | {"solvent_correct_fsc": True}}, "inputs.mask"),
        ({"inputs": inputs | {"mask": inputs["reference"]}}, "a mask has values from 0 to 1"),
        ({"inputs": {"particles": inputs["particles"]}, "parameters": PARAMETERS | {"use_input_poses": True}},
         "rlnAngleRot"),
    ]  # fmt: skip
    for changes, words in cases:
        code, _, err = _run(_request(data, tmp_path, **changes))
        assert code == 2, err
        assert words in err and len(err.strip().splitlines()) == 1, err
    assert not list(tmp_path.glob("run_*"))


def test_everything_a_half_holds_is_saved() -> None:
    saved = {"reference", *refine3d_files._HALF_TENSORS, *refine3d_files._HALF_NUMBERS}
    assert saved == set(HalfState.__dataclass_fields__)
