"""Jobs that change hands: the real RELION goes on from our iterations, and our programs from RELION's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_relion.command import mpi_prefix

from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.particles import read_particles
from cryorepro.em.formats.relion_job import last_iteration
from cryorepro.em.formats.star import read_star
from cryorepro.model.stage import StageRequest
from tests.plugins.relion_set import BOX, PARTICLES, finished, request, write_set

AT = 4
"""Iteration after which a refinement changes hands: the next searches are local."""


def _ours(asked: StageRequest) -> subprocess.CompletedProcess[str]:
    asked.output_dir.mkdir(exist_ok=True)
    module = f"cryorepro_engines.programs.{asked.kind}"
    argv = [sys.executable, "-m", module, "--request-json", asked.model_dump_json()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)


def _relion(directory: Path, *options: str, ranks: int = 0) -> None:
    """Run RELION where the job's files are, images linked beside them."""
    program = [*mpi_prefix(ranks), "relion_refine_mpi"] if ranks else ["relion_refine"]
    done = subprocess.run(
        [*program, *options, "--j", "1", "--pool", "30"],
        cwd=directory, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "is not a valid RELION argument" not in done.stderr


def _link_images(home: Path, directory: Path) -> None:
    link = directory / "images.mrcs"
    if not link.exists():  # the shared job of RELION has it once another test has collected it
        link.symlink_to(home / "images.mrcs")


def _correlation(first: Path, second: Path) -> float:
    values = [read_map(path)[0].ravel().astype(np.float64) for path in (first, second)]
    return float(np.corrcoef(values[0], values[1])[0, 1])


def _general(path: Path, label: str) -> float:
    return float(read_star(path)["model_general"].value(label))


def _noise(path: Path) -> np.ndarray:
    return np.stack(
        [b.numbers("rlnSigma2Noise")[1:] for n, b in read_star(path).items() if n.startswith("model_group_")]
    )


def _alike(first: Path, second: Path, prefixes: tuple[str, str], name: str) -> None:
    """Two programs' iterations from one state: the same noise, norms and map up to other draws of the grid."""
    models = [
        directory / f"{prefix}_{name}model.star" for directory, prefix in zip((first, second), prefixes, strict=True)
    ]
    maps = [
        directory / f"{prefix}_{name}class001.mrc" for directory, prefix in zip((first, second), prefixes, strict=True)
    ]
    assert _correlation(*maps) > 0.97
    norms = [_general(model, "rlnNormCorrectionAverage") for model in models]
    assert norms[0] == pytest.approx(norms[1], rel=0.03)
    ratio = _noise(models[0]) / _noise(models[1])
    assert abs(float(np.median(ratio)) - 1.0) < 0.03 and 0.5 < ratio.min() <= ratio.max() < 2.0


def test_relion_goes_on_from_our_refinement(tmp_path: Path) -> None:
    home = write_set(tmp_path)
    asked = request(home, tmp_path / "job", "refine3d", maximum_iterations=AT + 1, threads=1)
    done = _ours(asked)
    assert done.returncode == 0, done.stderr
    _link_images(home, asked.output_dir)
    start = f"run_it{AT:03d}_optimiser.star"
    _relion(asked.output_dir, "--continue", start, "--o", "./run_ct", "--auto_iter_max", str(AT + 2), ranks=3)
    after = f"it{AT + 1:03d}"
    for half in ("half1_", "half2_"):
        _alike(asked.output_dir, asked.output_dir, (f"run_ct_{after}", f"run_{after}"), half)
    ours, theirs = (read_particles(asked.output_dir / f"{run}_{after}_data.star") for run in ("run", "run_ct"))
    halves = [dict(zip(t.image_names, t.column("rlnRandomSubset"), strict=True)) for t in (ours, theirs)]
    assert halves[0] == halves[1]


def test_our_refinement_goes_on_from_relions(tmp_path: Path) -> None:
    theirs = finished("refine3d")
    job = tmp_path / "job"
    job.mkdir()
    for number in range(AT + 1):
        for path in theirs.output_dir.glob(f"run_it{number:03d}_*"):
            shutil.copy(path, job)
    home = theirs.inputs["particles"].parent
    asked = request(home, job, "refine3d", maximum_iterations=AT + 1, resume=True, threads=1)
    done = _ours(asked)
    assert done.returncode == 0, done.stderr
    assert f"resuming after iteration {AT} of RELION's files" in done.stdout
    for half in ("half1_", "half2_"):
        _alike(job, theirs.output_dir, (f"run_it{AT + 1:03d}",) * 2, half)
    before = read_particles(job / f"run_it{AT:03d}_data.star")
    after = read_particles(job / f"run_it{AT + 1:03d}_data.star")
    subsets = [dict(zip(t.image_names, t.numbers("rlnRandomSubset"), strict=True)) for t in (before, after)]
    assert subsets[0] == subsets[1]
    last = last_iteration(job, rows=PARTICLES, box_px=BOX, split_halves=True)
    assert last is not None and last.number == AT + 1


def test_classifications_change_hands_both_ways(tmp_path: Path) -> None:
    theirs = finished("class3d")
    home = theirs.inputs["particles"].parent
    job = tmp_path / "job"
    shutil.copytree(theirs.output_dir, job)
    _link_images(home, job)
    asked = request(home, job, "class3d", iterations=4, resume=True, threads=1)
    done = _ours(asked)
    assert done.returncode == 0, done.stderr
    assert "resuming after iteration 2 of RELION's files" in done.stdout
    for start, following in ((2, 3), (3, 4)):
        _relion(
            job, "--continue", f"run_it{start:03d}_optimiser.star", "--o", f"./run_ct{start}", "--iter", str(following)
        )
        _alike(job, job, (f"run_ct{start}_it{following:03d}", f"run_it{following:03d}"), "")
        tables = [read_star(job / f"{run}_it{following:03d}_model.star") for run in ("run", f"run_ct{start}")]
        shares = [table["model_classes"].numbers("rlnClassDistribution") for table in tables]
        assert float(np.abs(shares[0] - shares[1]).max()) < 0.15


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("data.star", "000003@", "000999@", "particle 000003@"),
        ("half1_model.star", "m2.mrc", "m9.mrc", "group m2.mrc"),
        ("sampling.star", "_rlnOffsetStep ", "_rlnOther ", "rlnOffsetStep"),
    ],
)
def test_files_of_another_job_are_refused_by_name(tmp_path: Path, name: str, old: str, new: str, words: str) -> None:
    theirs = finished("refine3d")
    job = tmp_path / "job"
    job.mkdir()
    for path in theirs.output_dir.glob(f"run_it{AT:03d}_*"):
        shutil.copy(path, job)
    broken = job / f"run_it{AT:03d}_{name}"
    broken.write_text(broken.read_text().replace(old, new))
    extra: dict[str, Any] = {"resume": True, "threads": 1}
    done = _ours(request(theirs.inputs["particles"].parent, job, "refine3d", maximum_iterations=AT + 1, **extra))
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and broken.name in done.stderr
