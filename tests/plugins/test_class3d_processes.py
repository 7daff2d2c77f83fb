"""Class3D on one, two and four processes: the same bits in deterministic mode, and failures that end them all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import psutil
import pytest

from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import read_particles
from tests.em.simulated import simulated_set, write_set

COUNT, BOX = 520, 32


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("particles")
    data = simulated_set(COUNT, box_px=BOX, pixel_size_angstrom=14.0, snr=0.6, seed=2, shift_px=0.7)
    write_map(folder / "reference.mrc", data.volume(0).numpy(), 14.0)
    return {"particles": str(write_set(data, folder, micrographs=2)), "reference": str(folder / "reference.mrc")}


def _request(inputs: dict[str, str], output: Path, **changes: Any) -> str:
    output.mkdir(exist_ok=True)
    parameters = {
        "number_of_classes": 2, "iterations": 2, "particle_diameter_angstrom": 330.0, "tau2_fudge": 4.0,
        "ini_high_angstrom": 70.0, "healpix_order": 0, "offset_range_px": 2.0, "firstiter_cc": True, "zero_mask": True,
        "ctf_corrected_ref": True, "flatten_solvent": True, "norm": True, "scale": True,
    }  # fmt: skip
    request = {
        "stage": "class3d", "kind": "class3d", "parameters": parameters, "seed": 11, "inputs": inputs,
        "output_dir": str(output), "threads": 2,
    }  # fmt: skip
    return json.dumps(request | changes)


def _run(launcher: list[str], request: str) -> subprocess.CompletedProcess[str]:
    command = [*launcher, "-m", "cryorepro_engines.programs.class3d", "--request-json", request]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def _bits(folder: Path) -> dict[str, bytes]:
    """Everything the last iteration left but the sidecar, an archive with times in it."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("run_it002_*")) if path.suffix != ".npz"}


@pytest.fixture(scope="module")
def alone(inputs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("alone")
    done = _run([sys.executable], _request(inputs, output, deterministic=True))
    assert done.returncode == 0, done.stderr
    return output


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [([sys.executable], 2), ([sys.executable], 4), (TORCHRUN, 1)],
    ids=["two", "four", "torchrun"],
)
def test_any_number_of_processes_gives_the_same_bits(
    launcher: list[str], processes: int, inputs: dict[str, str], alone: Path, tmp_path: Path
) -> None:
    # four: more than there are blocks of particles, so that some have nothing to do
    done = _run(launcher, _request(inputs, tmp_path / "out", deterministic=True, processes=processes))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{max(processes, 2)} process(es), device cpu")
    assert [line.split()[1] for line in lines[1:]] == ["1/2", "2/2"]
    assert _bits(tmp_path / "out") == _bits(alone) and len(_bits(alone)) == 6


def test_the_default_differs_by_rounding_alone(inputs: dict[str, str], alone: Path, tmp_path: Path) -> None:
    done = _run([sys.executable], _request(inputs, tmp_path / "out", processes=2))
    assert done.returncode == 0, done.stderr
    ours, exact = (
        mrcfile.read(folder / "run_it002_class001.mrc").astype(np.float64) for folder in (tmp_path / "out", alone)
    )
    assert np.abs(ours - exact).max() < 1e-3 * np.abs(exact).max()
    tables = [read_particles(folder / "run_it002_data.star") for folder in (tmp_path / "out", alone)]
    classes = [table.columns["rlnClassNumber"] for table in tables]
    assert np.mean(classes[0] == classes[1]) > 0.99


def test_bad_input_is_one_sentence_and_exit_code_2(inputs: dict[str, str], tmp_path: Path) -> None:
    wrong = inputs | {"reference": str(tmp_path / "none.mrc")}
    done = _run([sys.executable], _request(wrong, tmp_path / "out", processes=2))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "none.mrc" in done.stderr


def test_a_gpu_that_is_not_there_is_one_sentence_and_exit_code_2(inputs: dict[str, str], tmp_path: Path) -> None:
    request = _request(inputs, tmp_path / "out", device="cuda")
    command = [sys.executable, "-m", "cryorepro_engines.programs.class3d", "--request-json", request]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=hidden)
    assert done.returncode == 2
    assert done.stderr == "stage class3d: device 'cuda' is not there: torch sees no GPU.\n"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("victim", ["a rank", "the launcher"])
def test_one_that_is_killed_takes_the_others_with_it(victim: str, inputs: dict[str, str], tmp_path: Path) -> None:
    request = _request(inputs, tmp_path / "out", processes=2)
    command = [sys.executable, "-m", "cryorepro_engines.programs.class3d", "--request-json", request]
    with (tmp_path / "log").open("w") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log)
        limit = time.monotonic() + 120
        while not (tmp_path / "out" / "run_it000_optimiser.star").exists() and time.monotonic() < limit:
            time.sleep(0.05)
        children = psutil.Process(started.pid).children()
        assert len(children) == 2
        if victim == "a rank":
            children[1].kill()
        else:
            started.send_signal(signal.SIGTERM)
        code = started.wait(60)
    assert code == (128 + signal.SIGKILL if victim == "a rank" else 128 + signal.SIGTERM)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
