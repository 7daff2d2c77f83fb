"""RELION's Bayesian polishing starts from our trajectories: it must see a particle where we do, in every frame."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import RelionLikeRunner

from cryorepro.em.formats.maps import write_map, write_stack
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.em.motion.files import read_trajectory
from cryorepro.em.movies.table import MovieGroup, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest
from tests.em.motion.moving import MovingScene

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
PLACES = ((100.0, 120.0), (300.0, 200.0), (420.0, 400.0), (150.0, 430.0))
PIXEL, BOX = 1.5, 32


def run(home: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=home, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A corrected movie, and a table of particles in it whose images say nothing."""
    (tmp_path / "movies").mkdir()
    scene = MovingScene(size=512, frames=8, rate=3.0, contrast=0.3, local_px=3.0)
    write_movie_mrc(tmp_path / "movies" / "a.mrcs", scene.movie(), 2)
    write_movie_table(tmp_path / "movies.star", ["movies/a.mrcs"], MovieGroup(300.0, 2.7, 0.1, PIXEL))
    asked: dict[str, Any] = {"dose_per_frame_e_per_square_angstrom": 1.0}
    request = StageRequest(
        stage="motion", kind="motioncorrection", inputs={"movies": tmp_path / "movies.star"}, output_dir=tmp_path,
        seed=1, parameters=KNOWN_PARAMETERS["motioncorrection"].model_validate(asked).model_dump(),
    )  # fmt: skip
    run(tmp_path, *RelionLikeRunner().plan(request).argv)
    rng = np.random.default_rng(0)
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = sum(np.exp(-((z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2) / 4) for a, b, c in rng.normal(0, 4, (8, 3)))
    for half in (1, 2):
        write_map(tmp_path / f"half{half}.mrc", volume + 0.01 * rng.normal(size=volume.shape), PIXEL)
    write_map(tmp_path / "mask.mrc", np.ones((BOX,) * 3), PIXEL)
    write_stack(tmp_path / "images.mrcs", rng.normal(size=(len(PLACES), BOX, BOX)), PIXEL)
    write_particles(tmp_path)
    return tmp_path


def write_particles(home: Path) -> None:
    optics: dict[str, list[Any]] = {
        "rlnOpticsGroupName": ["opticsGroup1"], "rlnOpticsGroup": [1], "rlnMicrographOriginalPixelSize": [PIXEL],
        "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7], "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL], "rlnImageSize": [BOX], "rlnImageDimensionality": [2],
    }  # fmt: skip
    count = len(PLACES)
    rows: dict[str, list[Any]] = {
        "rlnCoordinateX": [x for x, _ in PLACES],
        "rlnCoordinateY": [y for _, y in PLACES],
        "rlnImageName": [f"{number:06d}@images.mrcs" for number in range(1, count + 1)],
        "rlnMicrographName": ["micrographs/a.mrc"] * count,
        "rlnRandomSubset": [1, 2] * (count // 2),
    }
    same = {"rlnOpticsGroup": 1, "rlnGroupNumber": 1, "rlnClassNumber": 1, "rlnDefocusU": 1e4, "rlnDefocusV": 1e4}
    zero = ("rlnDefocusAngle", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst")
    for label, value in (same | dict.fromkeys(zero, 0.0)).items():
        rows[label] = [value] * count
    write_star(home / "particles.star", [make_block("optics", optics), make_block("particles", rows)])


def test_polishing_starts_where_our_trajectories_are(job: Path) -> None:
    (job / "post").mkdir()
    halves = ("half1.mrc", "half2.mrc", "--mask", "mask.mrc")
    run(job, "relion_postprocess", "--i", halves[0], "--i2", *halves[1:], "--o", "post/postprocess", "--angpix", "1.5")
    run(
        job, "relion_motion_refine", "--i", "particles.star", "--corr_mic", "corrected_micrographs.star",
        "--f", "post/postprocess.star", "--m1", halves[0], "--m2", *halves[1:], "--o", "polish/", "--fdose", "1",
        "--max_iters", "0", "--j", "1",
    )  # fmt: skip
    ours = read_trajectory(job / "micrographs" / "a.star")
    tracks = read_star(job / "polish" / "micrographs" / "a_tracks.star")
    assert ours.is_local
    for number, (x, y) in enumerate(PLACES):
        table = tracks[str(number)]
        theirs = np.stack([table.numbers("rlnOriginXAngst"), table.numbers("rlnOriginYAngst")], axis=1)
        # a track is where the particle is, a shift is what brings it back
        expected = -PIXEL * ours.at(np.array([x]), np.array([y]))[:, :, 0]
        assert np.abs((theirs - theirs[0]) - (expected - expected[0])).max() < 1e-4
        assert np.abs(expected[-1]).max() > 10.0
