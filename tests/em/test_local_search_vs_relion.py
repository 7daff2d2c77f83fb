"""One iteration of local searches by the real RELION and by this engine, from the same poses, particle by particle."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from cryorepro_relion.command import mpi_prefix

from cryorepro.em import local_search
from cryorepro.em.formats.maps import write_map
from cryorepro.em.formats.particles import Particles, read_particles, write_particles
from cryorepro.em.particle_images import open_particle_images, read_matching_map
from cryorepro.em.refine3d import iterate, start
from cryorepro.em.refine_schedule import Schedule
from cryorepro.em.refine_state import RefineOptions
from cryorepro.em.rotations import euler_to_matrix, matrix_to_euler, rotation_angle_deg
from tests.em.simulated import simulated_set, write_set

COUNT, BOX, PIXEL, DIAMETER, ORDER = 100, 32, 15.0, 360.0, 3
_ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Found:
    """The particles as they went in, and after one iteration by RELION, by ours, and by ours with RELION's windows."""

    given: Particles
    theirs: Particles
    ours: Particles
    theirs_in_windows: Particles


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    home = tmp_path_factory.mktemp("local")
    data = simulated_set(COUNT, BOX, PIXEL, snr=0.4, seed=8, shares=(1.0, 0.0, 0.0))
    star = write_set(data, home)
    stream = np.random.default_rng(1)
    angles = data.views.angles_degrees + stream.normal(0.0, 4.0, (COUNT, 3))
    given = read_particles(star).with_columns(
        rlnAngleRot=angles[:, 0], rlnAngleTilt=angles[:, 1], rlnAnglePsi=angles[:, 2],
        rlnOriginXAngst=np.zeros(COUNT), rlnOriginYAngst=np.zeros(COUNT),
        rlnRandomSubset=np.arange(COUNT, dtype=np.int64) % 2 + 1,
    )  # fmt: skip
    write_particles(star, given)
    write_map(home / "reference.mrc", data.volume(0, 50.0).numpy(), PIXEL)
    _relion(home)
    theirs = _like(given, read_particles(home / "relion" / "run_it001_data.star"))
    with pytest.MonkeyPatch.context() as patch:
        ours = _ours(home, given)
        patch.setattr(local_search, "_transported_psi", _numbers_of_psi)
        return Found(given, theirs, ours, _ours(home, given))


def _relion(home: Path) -> None:
    (home / "relion").mkdir()
    options = (
        f"--auto_refine --split_random_halves --ini_high 50 --ctf --ctf_corrected_ref --particle_diameter {DIAMETER}"
        f" --flatten_solvent --zero_mask --oversampling 1 --healpix_order {ORDER} --auto_local_healpix_order {ORDER}"
        " --offset_range 4 --offset_step 2 --sym C1 --low_resol_join_halves 40 --norm --scale --offset 1000"
        " --fix_sigma_offset --perturb 0 --random_seed 1 --auto_iter_max 1 --j 1 --dont_combine_weights_via_disc"
    )
    files = ["--i", "particles.star", "--ref", "reference.mrc", "--o", "relion/run"]
    _succeed([*mpi_prefix(3), "relion_refine_mpi", *files, *options.split()], home)


def _ours(home: Path, given: Particles) -> Particles:
    loaded = open_particle_images(home / "particles.star")
    reference = read_matching_map(home / "reference.mrc", BOX, PIXEL).numpy()
    options = RefineOptions(DIAMETER, torch.eye(3).double()[None], 0.0, fix_offset_sigma=True, poses_are_given=True)
    schedule = Schedule(ORDER, 1, 4.0, 2.0, radius=BOX // 2, local_order=ORDER)
    halves = given.column("rlnRandomSubset")
    begun = start(
        loaded.images, loaded.start_poses(), [reference], halves, schedule, options, 50.0, 1000.0 / PIXEL, 1
    )  # fmt: skip
    poses = iterate(loaded.images, begun, options, seed=1, workers=1).poses
    euler, origin = poses.euler_deg.numpy(), poses.origin_px.numpy() * PIXEL
    return given.with_columns(
        rlnAngleRot=euler[:, 0], rlnAngleTilt=euler[:, 1], rlnAnglePsi=euler[:, 2],
        rlnOriginXAngst=origin[:, 0], rlnOriginYAngst=origin[:, 1], rlnNormCorrection=poses.norm.numpy(),
        rlnMaxValueProbDistribution=poses.max_probability.numpy(), rlnNrOfSignificantSamples=poses.significant.numpy(),
    )  # fmt: skip


def _numbers_of_psi(centres: torch.Tensor, _frames: torch.Tensor) -> torch.Tensor:
    """RELION's middle of the in-plane window: the particle's own psi, whatever the direction."""
    return matrix_to_euler(centres)[:, 2]


def _succeed(command: list[str], home: Path) -> None:
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=200, check=False, env=_ENVIRONMENT)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]


def _like(given: Particles, found: Particles) -> Particles:
    place = {name: row for row, name in enumerate(found.image_names)}
    return found.subset([place[name] for name in given.image_names])


def _views(table: Particles) -> torch.Tensor:
    return euler_to_matrix(torch.from_numpy(table.angles_degrees))


def _same_pose(first: Particles, second: Particles) -> float:
    return float((rotation_angle_deg(_views(first), _views(second)) < 0.01).double().mean())


def test_all_but_the_shape_of_the_window_is_relions(found: Found) -> None:
    """With windows in the numbers psi, as RELION has them, both find the same poses with the same weights."""
    theirs, ours = found.theirs, found.theirs_in_windows
    assert _same_pose(theirs, ours) >= 0.97
    shift = np.abs(theirs.origins_angstrom - ours.origins_angstrom).max(axis=1)
    assert float((shift < 0.1 * PIXEL).mean()) >= 0.97
    pmax = [table.numbers("rlnMaxValueProbDistribution") for table in (theirs, ours)]
    assert float(np.abs(pmax[0] - pmax[1]).mean()) < 0.01
    counts = [table.numbers("rlnNrOfSignificantSamples") for table in (theirs, ours)]
    assert counts[1].mean() == pytest.approx(counts[0].mean(), rel=0.04)
    norms = [table.numbers("rlnNormCorrection") for table in (theirs, ours)]
    np.testing.assert_allclose(norms[1], norms[0], rtol=0.02)


def test_windows_that_follow_the_direction_change_few_poses(found: Found) -> None:
    assert _same_pose(found.theirs, found.ours) >= 0.85
    moved = rotation_angle_deg(_views(found.given), _views(found.ours))
    assert 3.0 < float(moved.mean()) < 15.0 and float(moved.max()) < 33.0, "nobody left the window"
