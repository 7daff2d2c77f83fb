"""RELION's motion correction as a stage, and its results beside ours on one movie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_relion.runner import RelionRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.em.motion.correct import CorrectedMovie, MotionSettings, correct_movie
from cryorepro.em.motion.files import read_trajectory
from cryorepro.em.motion.raw_frames import ArrayFrames
from cryorepro.em.movies.table import MovieGroup, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from cryorepro.em.reextraction import read_micrograph, read_micrographs
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageRequest
from tests.em.motion.moving import MovingScene
from tests.plugins.relion_set import carry_out, collect

SCENE = MovingScene(size=512, frames=10, rate=2.0, contrast=0.2, local_px=3.0)
DOSE = {"dose_per_frame_e_per_square_angstrom": 1.5}
LISTED = "micrographs/corrected_micrographs.star"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("relion")
    (home / "movies").mkdir()
    movie = SCENE.movie(gain(), hot=((100, 50),))
    write_movie_tiff(home / "movies" / "a.b.tif", movie[:, ::-1], "lzw")
    write_movie_mrc(home / "movies" / "zeros.mrcs", 0 * movie, 1)
    (home / "movies" / "stray.txt").write_text("notes\n")
    write_movie_mrc(home / "gain.mrc", gain()[None, ::-1].astype(np.float32), 2)
    write_movie_table(
        home / "movies.star",
        ["movies/a.b.tif", "movies/zeros.mrcs", "movies/stray.txt"],
        MovieGroup(300.0, 2.7, 0.1, 1.0),
    )
    return home


def gain() -> Any:
    return np.random.default_rng(3).normal(1.0, 0.03, (512, 512)).clip(0.8)


def asked(home: Path, output: Path, **parameters: Any) -> StageRequest:
    complete = KNOWN_PARAMETERS["motioncorrection"].model_validate(DOSE | parameters).model_dump()
    inputs = {"movies": home / "movies.star", "gain": home / "gain.mrc"}
    return StageRequest(
        stage="motion", kind="motioncorrection", parameters=complete, inputs=inputs, output_dir=output, seed=1
    )


@pytest.fixture(scope="module")
def job(data: Path, tmp_path_factory: pytest.TempPathFactory) -> StageRequest:
    request = asked(data, tmp_path_factory.mktemp("job") / "motion", flip_gain_y=True)
    assert carry_out(request) == 0
    return request


@pytest.fixture(scope="module")
def ours() -> CorrectedMovie:
    """The same movie in memory, as the TIFF file is read: its last stored row first."""
    settings = MotionSettings(1.0, 300.0, accumulated_e_per_angstrom2=1.5 * np.arange(1.0, 11.0))
    movie = SCENE.movie(gain(), hot=((100, 50),))
    return correct_movie(ArrayFrames(movie), settings, gain().astype(np.float32))


def test_relion_corrects_the_usable_movies(job: StageRequest) -> None:
    result = collect(job)
    assert result.rows == {"micrographs": 1, "set_aside": 2}
    assert [words for words in ("zeros", "stray.txt") if not any(words in note for note in result.notes)] == []
    table = read_star(job.output_dir / LISTED)["micrographs"]
    assert table.text("rlnMicrographName") == ["micrographs/movies/a_b.mrc"]
    assert list(read_micrographs(job.output_dir / LISTED).paths) == ["micrographs/movies/a_b.mrc"]


def test_ours_leaves_no_more_motion_than_relion(job: StageRequest, ours: CorrectedMovie) -> None:
    along = np.linspace(30.0, 480.0, 6)
    y, x = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    theirs = read_trajectory(job.output_dir / "micrographs/movies/a_b.star")
    # read by this project's formula, RELION's coefficients describe the true motion too
    assert SCENE.residual_px(theirs.at(x, y), x, y) < 0.3
    assert SCENE.residual_px(ours.trajectory.at(x, y), x, y) < 0.3
    assert SCENE.residual_px(ours.trajectory.at(x, y), x, y) < 1.1 * SCENE.residual_px(theirs.at(x, y), x, y)


@pytest.mark.parametrize("weighted", [True, False])
def test_sums_are_relions_up_to_its_interpolation(weighted: bool, job: StageRequest, ours: CorrectedMovie) -> None:
    image = ours.weighted if weighted else ours.unweighted
    assert image is not None
    name = "a_b.mrc" if weighted else "a_b_noDW.mrc"
    theirs = read_micrograph(job.output_dir / "micrographs/movies" / name)
    assert image.mean() == pytest.approx(theirs.mean(), rel=2e-3)
    first, second = (np.fft.rfft2(part[40:-40, 40:-40]) for part in (image, theirs))
    k = np.hypot(np.fft.fftfreq(432)[:, None], np.fft.rfftfreq(432)[None])
    band = (k > 0.01) & (k < 0.1)
    cross = (first * second.conj()).real[band].sum()
    ratio = np.sqrt((abs(first[band]) ** 2).sum() / (abs(second[band]) ** 2).sum())
    assert cross / np.sqrt((abs(first[band]) ** 2).sum() * (abs(second[band]) ** 2).sum()) > 0.97
    assert ratio == pytest.approx(1.0, abs=0.04)
    # RELION interpolates linearly and damps what is fine; the weights are the same, so the excess is the same in both
    fine = (k > 0.3) & (k < 0.4)
    assert 1.1 < np.sqrt((abs(first[fine]) ** 2).sum() / (abs(second[fine]) ** 2).sum()) < 1.6


def test_a_gain_of_the_wrong_shape_ends_with_relions_error(data: Path, tmp_path: Path) -> None:
    write_movie_mrc(data / "small.mrc", np.ones((1, 100, 512), dtype=np.float32), 2)
    request = asked(data, tmp_path / "job").model_copy(
        update={"inputs": {"movies": data / "movies.star", "gain": data / "small.mrc"}}
    )
    assert carry_out(request) != 0


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"eer_super_resolution": 4}, "at 1 and 2"), ({"reciprocal_gain": True}, "multiplies by the gain")],
    ids=["eer", "reciprocal"],
)
def test_what_relion_cannot_do_is_refused(parameters: dict[str, Any], words: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        RelionRunner().plan(asked(data, tmp_path, **parameters))
    dm4 = asked(data, tmp_path).model_copy(update={"inputs": {"movies": data / "movies.star", "gain": data / "g.dm4"}})
    (data / "g.dm4").write_bytes(b"x")
    with pytest.raises(InputError, match="in MRC and TIFF"):
        RelionRunner().plan(dm4)


def test_options_are_relions_own(data: Path, tmp_path: Path) -> None:
    argv = (
        RelionRunner()
        .plan(
            asked(
                data,
                tmp_path,
                bfactor_angstrom2=600.0,
                patches_x=3,
                patches_y=4,
                binned=2.0,
                rotate_gain_quarter_turns=1,
            )
        )
        .argv[-1]
    )
    for words in ("--patch_x 3 --patch_y 4", "--bfactor 150", "--bin_factor 2", "--gain_rot 1", "--dose_per_frame 1.5"):
        assert words in argv
