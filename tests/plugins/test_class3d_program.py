"""The class3d stage program as it is started: its files, resume, signals, and what it says to bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from cryorepro.em.formats.maps import read_map, write_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.relion_job import inspect_class3d, last_iteration
from tests.em.simulated import simulated_set, write_set

BOX, COUNT = 32, 48


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    data = simulated_set(COUNT, box_px=BOX, pixel_size_angstrom=14.0, snr=0.6, seed=2, shift_px=0.7)
    folder = tmp_path / "input"
    folder.mkdir()
    write_map(folder / "reference.mrc", data.volume(0).numpy(), 14.0)
    return {"particles": write_set(data, folder, micrographs=2), "reference": folder / "reference.mrc"}


def _arguments(
    inputs: dict[str, Path], output: Path, iterations: int, threads: int, resume: bool, **changes: Any
) -> list[str]:
    output.mkdir(exist_ok=True)
    parameters = {
        "number_of_classes": 2, "iterations": iterations, "particle_diameter_angstrom": 330.0, "tau2_fudge": 4.0,
        "ini_high_angstrom": 70.0, "healpix_order": 0, "offset_range_px": 2.0, "firstiter_cc": True, "zero_mask": True,
        "ctf_corrected_ref": True, "flatten_solvent": True, "norm": True, "scale": True,
    } | changes  # fmt: skip
    request = {
        "stage": "class3d", "kind": "class3d", "parameters": parameters, "seed": 11, "threads": threads,
        "inputs": {name: str(path) for name, path in inputs.items()}, "output_dir": str(output), "resume": resume,
    }  # fmt: skip
    return [sys.executable, "-m", "cryorepro_engines.programs.class3d", "--request-json", json.dumps(request)]


def _run(
    inputs: dict[str, Path], output: Path, iterations: int = 3, threads: int = 1, resume: bool = False, **changes: Any
) -> subprocess.CompletedProcess[str]:
    command = _arguments(inputs, output, iterations, threads, resume, **changes)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_finished_job_is_judged_complete_and_its_seed_reads_back(inputs: dict[str, Path], tmp_path: Path) -> None:
    done = _run(inputs, tmp_path / "out", threads=2)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    report = inspect_class3d(tmp_path / "out", number_of_iterations=3, number_of_classes=2, rows=COUNT, box_px=BOX)
    assert report.optimiser is not None and report.optimiser.random_seed == 11
    table = read_particles(tmp_path / "out" / "run_it003_data.star")
    assert table.image_names == read_particles(inputs["particles"]).image_names
    assert set(np.unique(table.columns["rlnClassNumber"])) <= {1, 2}
    assert np.abs(table.origins_angstrom).max() < 6 * 14.0


def test_the_real_relion_reads_what_is_written(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Its reconstruction from our poses resembles our map: every sign and unit in the table is RELION's."""
    out = tmp_path / "out"
    assert _run(inputs, out, number_of_classes=1, healpix_order=1).returncode == 0
    command = ["relion_reconstruct", "--i", str(out / "run_it003_data.star"), "--o", str(out / "check.mrc"), "--ctf"]
    subprocess.run([*command, "--maxres", "70"], cwd=inputs["particles"].parent, check=True, capture_output=True)
    theirs, ours = read_map(out / "check.mrc")[0], read_map(out / "run_it003_class001.mrc")[0]
    inner = (slice(6, 26),) * 3
    assert np.corrcoef(theirs[inner].ravel(), ours[inner].ravel())[0, 1] > 0.8


def test_one_and_two_threads_and_a_resumed_run_write_the_same_maps(inputs: dict[str, Path], tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert _run(inputs, one, threads=1).returncode == 0
    assert _run(inputs, two, threads=2).returncode == 0
    (two / "run_it003_optimiser.star").unlink()  # as if killed while iteration 3 was written
    (two / "run_it003_class001.mrc").write_bytes(b"torn")
    resumed = _run(inputs, two, threads=2, resume=True)
    assert resumed.stdout.splitlines()[0] == "resuming after iteration 2"
    for name in ("run_it003_class001.mrc", "run_it003_class002.mrc", "run_it003_data.star", "run_it003_model.star"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_resuming_with_other_parameters_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    assert _run(inputs, tmp_path / "out", iterations=1).returncode == 0
    done = _run(inputs, tmp_path / "out", iterations=1, resume=True, tau2_fudge=2.0)
    assert done.returncode == 2
    assert "other parameters" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_fresh_start_removes_what_an_earlier_attempt_left(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run_it009_optimiser.star").write_text("stale")
    (out / "notes.txt").write_text("kept")
    assert _run(inputs, out, iterations=1).returncode == 0
    assert not (out / "run_it009_optimiser.star").exists()
    assert (out / "notes.txt").read_text() == "kept"


def test_sigterm_ends_it_at_once_and_leaves_whole_iterations(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = _arguments(inputs, out, iterations=500, threads=2, resume=False)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("iteration 1/500")
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(timeout=30) == 143
        assert time.monotonic() - started < 10.0
    last = last_iteration(out, rows=COUNT, box_px=BOX, number_of_classes=2)
    assert last is not None and last.number >= 1
    assert not list(out.glob("*.tmp"))


def _nan(inputs: dict[str, Path]) -> None:
    with mrcfile.open(inputs["particles"].parent / "particles.mrcs", "r+") as stack:
        stack.data[COUNT - 5, 3, 3] = np.nan


def _truncated(inputs: dict[str, Path]) -> None:
    path = inputs["particles"].parent / "particles.mrcs"
    path.write_bytes(path.read_bytes()[:-4096])


def _missing(inputs: dict[str, Path]) -> None:
    (inputs["particles"].parent / "particles.mrcs").unlink()


def _wrong_box(inputs: dict[str, Path]) -> None:
    write_map(inputs["reference"], np.zeros((24, 24, 24), dtype=np.float32), 14.0)


def _wrong_pixel(inputs: dict[str, Path]) -> None:
    write_map(inputs["reference"], np.ones((BOX, BOX, BOX), dtype=np.float32), 10.0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_nan, "NaN or infinite pixels"),
        (_truncated, "particles.mrcs"),
        (_missing, "particles.mrcs"),
        (_wrong_box, "does not fit particles of 32 pixels"),
        (_wrong_pixel, "do not fit particles of 14 A"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    inputs: dict[str, Path], tmp_path: Path, damage: Any, words: str
) -> None:
    damage(inputs)
    done = _run(inputs, tmp_path / "out", iterations=1, threads=2)
    assert done.returncode == 2
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_parameter_and_a_missing_device_are_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    done = _run(inputs, tmp_path / "out", iterations=1, healpix_ordr=2)
    assert done.returncode == 2 and "healpix_ordr" in done.stderr
