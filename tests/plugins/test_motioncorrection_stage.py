"""Motion correction as a stage: run as a process through the runner, judged by the files it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_engines.runner import CpuOnlyRunner, RelionLikeRunner

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map
from cryorepro.em.formats.star import make_block, read_star, write_star
from cryorepro.em.motion.files import MICROGRAPHS, read_trajectory
from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.table import MovieGroup, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from cryorepro.em.reextraction import read_micrographs
from cryorepro.model.processing_stages import KNOWN_PARAMETERS
from cryorepro.model.stage import StageFailure, StageRequest
from tests.em.motion.moving import MovingScene

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
SCENES = {
    name: MovingScene(size=256, frames=8, rate=3.0, contrast=0.3, local_px=1.0, seed=seed)
    for seed, name in enumerate("ab")
}
GROUP = MovieGroup(300.0, 2.7, 0.1, 1.5)
DOSE = {"total_dose_e_per_square_angstrom": 12.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good movies (MRC, TIFF), and what a careless directory holds besides."""
    home = tmp_path_factory.mktemp("movies")
    folder = home / "movies"
    folder.mkdir()
    gain = np.random.default_rng(5).normal(1.0, 0.03, (256, 256)).clip(0.8).astype(np.float32)
    movies = {name: scene.movie(gain.astype(float), hot=((20, 30),)) for name, scene in SCENES.items()}
    write_movie_mrc(folder / "a.mrcs", movies["a"], 1)
    write_movie_tiff(folder / "b.tif", movies["b"][:, ::-1], "lzw")
    write_movie_mrc(home / "gain.mrc", gain[None, ::-1], 2)
    write_movie_mrc(home / "turned.mrc", gain[None, :, :200], 2)
    write_movie_mrc(folder / "long.mrcs", np.concatenate([movies["a"], movies["a"][:1]]), 1)
    write_movie_mrc(folder / "zeros.mrcs", 0 * movies["a"], 1)
    hole = movies["a"].copy()
    hole[5] = 0
    write_movie_mrc(folder / "hole.mrcs", hole, 1)
    whole = (folder / "b.tif").read_bytes()
    (folder / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "readme.txt").write_text("not a movie\n")
    (home / "defects.txt").write_text("100 50 3 200\n")
    return home


def listed(home: Path, names: list[str], star: str = "movies.star") -> Path:
    write_movie_table(home / star, [f"movies/{name}" for name in names], GROUP)
    return home / star


def asked(star: Path, output: Path, **parameters: Any) -> StageRequest:
    own = {name: parameters.pop(name) for name in list(parameters) if name in StageRequest.model_fields}
    extra = {name: star.parent / parameters.pop(name) for name in ("gain", "defects") if name in parameters}
    complete = KNOWN_PARAMETERS["motioncorrection"].model_validate(DOSE | parameters).model_dump()
    inputs = {"movies": star} | extra
    return StageRequest(
        stage="motion", kind="motioncorrection", parameters=complete, inputs=inputs, output_dir=output, seed=3, **own
    )


def run(request: StageRequest, runner: RelionLikeRunner | None = None) -> subprocess.CompletedProcess[str]:
    planned = (runner or RelionLikeRunner()).plan(request)
    request.output_dir.mkdir(parents=True)
    environment = ENVIRONMENT | planned.environment
    return subprocess.run(planned.argv, cwd=planned.cwd, env=environment, capture_output=True, text=True)


def residual(directory: Path, name: str) -> float:
    along = np.linspace(20.0, 235.0, 5)
    y, x = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    return SCENES[name].residual_px(read_trajectory(directory / f"micrographs/{name}.star").at(x, y), x, y)


def test_good_movies_are_corrected_and_bad_ones_set_aside_by_name(data: Path, tmp_path: Path) -> None:
    names = ["a.mrcs", "b.tif", "long.mrcs", "zeros.mrcs", "hole.mrcs", "cut.tif", "readme.txt"]
    request = asked(
        listed(data, names), tmp_path / "job", gain="gain.mrc", defects="defects.txt", flip_gain_y=True, threads=2
    )
    done = run(request)
    assert done.returncode == 0, done.stderr
    result = RelionLikeRunner().collect(request, tmp_path / "log")
    assert result.rows == {"micrographs": 2, "set_aside": 5}
    aside = read_star(request.output_dir / "set_aside.star")["set_aside"]
    faults = dict(zip(aside.text("rlnMicrographMovieName"), aside.text("cryoreproReason"), strict=True))
    for name, words in {
        "long": "9 frames",
        "zeros": "zero everywhere",
        "hole": "Frame 6 is zero",
        "cut": "cut.tif",
        "readme": "readme.txt",
    }.items():
        assert any(name in key and words in reason for key, reason in faults.items())
    assert not any(str(data) in reason for reason in faults.values()), "the table is the same in any folder"
    blocks = read_star(request.output_dir / MICROGRAPHS)
    table = blocks["micrographs"]
    assert table.text("rlnMicrographName") == ["micrographs/a.mrc", "micrographs/b.mrc"]
    assert blocks["optics"].numbers("rlnMicrographPixelSize") == [1.5]
    assert (table.numbers("rlnAccumMotionTotal") > 9.0).all()
    assert np.allclose(
        table.numbers("rlnAccumMotionTotal"), table.numbers("rlnAccumMotionEarly") + table.numbers("rlnAccumMotionLate")
    )
    for name in SCENES:
        assert residual(request.output_dir, name) < 0.3
        weighted = read_map(request.output_dir / f"micrographs/{name}.mrc")[0]
        plain = read_map(request.output_dir / f"micrographs/{name}_noDW.mrc")[0]
        assert weighted.shape == plain.shape == (1, 256, 256)
        assert weighted.mean() == pytest.approx(plain.mean() / np.sqrt(8), rel=1e-3)
        background = read_map(request.output_dir / f"micrographs/{name}_background.mrc")[0]
        assert background.mean() == pytest.approx(plain.mean(), rel=0.02)
        general = read_star(request.output_dir / f"micrographs/{name}.star")["general"]
        assert general.numbers("rlnMicrographDoseRate") == pytest.approx(1.5)
    # the next stage finds the micrographs by the same names
    assert set(read_micrographs(request.output_dir / MICROGRAPHS).paths) == set(table.text("rlnMicrographName"))
    progress = RelionLikeRunner().progress(request)
    assert progress is not None and progress.iteration == 2 and progress.of == 7


def test_relion_reads_the_lists(data: Path, tmp_path: Path) -> None:
    request = asked(listed(data, ["a.mrcs", "b.tif"], "two.star"), tmp_path / "job")
    assert run(request).returncode == 0
    chosen = ["--i", MICROGRAPHS, "--o", "relion.star", "--select", "rlnAccumMotionTotal", "--maxval", "1000"]
    subprocess.run(["relion_star_handler", *chosen], cwd=request.output_dir, check=True, capture_output=True)
    kept = read_star(request.output_dir / "relion.star")["micrographs"]
    ours = read_star(request.output_dir / MICROGRAPHS)["micrographs"]
    assert kept.text("rlnMicrographName") == ours.text("rlnMicrographName")
    assert kept.text("rlnMicrographMetadata") == ours.text("rlnMicrographMetadata")
    assert kept.numbers("rlnAccumMotionLate") == pytest.approx(ours.numbers("rlnAccumMotionLate"), abs=1e-3)


def test_the_deterministic_runner_repeats_its_bytes_on_any_threads(data: Path, tmp_path: Path) -> None:
    star = listed(data, ["a.mrcs", "b.tif"], "pair.star")
    for threads in (1, 3):
        request = asked(star, tmp_path / str(threads), threads=threads, gain="gain.mrc", flip_gain_y=True)
        assert run(request, CpuOnlyRunner()).returncode == 0
        CpuOnlyRunner().collect(request, tmp_path / "log")
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / d).rglob("*.*") if p.is_file()} for d in ("1", "3"))
    assert first.keys() == second.keys() and len(first) > 9
    assert [name for name in first if first[name] != second[name]] == []


def test_electron_events_are_summed_to_fractions_and_rendered_finer(data: Path, tmp_path: Path) -> None:
    scene, stream = SCENES["a"], np.random.default_rng(1)
    events = [one for counts in scene.movie() for one in events_of_counts(counts, 24, stream)]
    write_movie_eer(data / "movies" / "a.eer", events, (256, 256))
    request = asked(
        listed(data, ["a.eer"], "eer.star"), tmp_path / "job", eer_fractions=8, eer_super_resolution=2, binned=2.0
    )
    assert run(request).returncode == 0
    RelionLikeRunner().collect(request, tmp_path / "log")
    found = read_trajectory(request.output_dir / "micrographs/a.star")
    assert (found.frames, found.width_px) == (8, 512)
    along = np.linspace(20.0, 235.0, 5)
    y, x = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    assert scene.residual_px(found.at(2 * x, 2 * y) / 2, x, y) < 0.3
    image, pixel = read_map(request.output_dir / "micrographs/a.mrc")
    assert image.shape == (1, 256, 256)
    assert pixel == pytest.approx(GROUP.pixel_size_angstrom)
    assert read_star(request.output_dir / "micrographs/a.star")["general"].numbers("rlnMicrographDoseRate") == 1.5


@pytest.mark.parametrize(
    ("names", "parameters", "words"),
    [
        (["zeros.mrcs"], {}, "None of 1 movies can be used"),
        (["a.mrcs"], {"gain": "turned.mrc"}, "turned.mrc"),
        (["a.mrcs"], {"pixel_size_angstrom": 1.2}, "pixel_size_angstrom is 1.2, but the list of movies says 1.5"),
        (["a.mrcs", "a.mrcs"], {}, "twice"),
        (["hole.mrcs"], {}, "none of 1 movies could be corrected"),
        (["a.mrcs"], {"frames": 9}, "9 frames"),
        (["a.mrcs"], {"defects": "movies/readme.txt"}, "line 1 is not a rectangle"),
    ],
    ids=["zeros", "gain-shape", "pixel-size", "twice", "hole", "frames", "defects"],
)
def test_bad_input_is_refused_with_one_sentence(
    names: list[str], parameters: dict[str, Any], words: str, data: Path, tmp_path: Path
) -> None:
    done = run(asked(listed(data, names, "wrong.star"), tmp_path / "job", **parameters))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "job" / MICROGRAPHS).exists()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"dose_per_frame_e_per_square_angstrom": 1.0}, "exclude each other"),
        ({"total_dose_e_per_square_angstrom": None, "dose_weighting": True}, "dose_weighting needs"),
        ({"flip_gain_x": True, "flip_gain_y": True}, "are a rotation"),
    ],
    ids=["two-doses", "no-dose", "two-flips"],
)
def test_parameters_that_contradict_are_refused(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KNOWN_PARAMETERS["motioncorrection"].model_validate(DOSE | parameters)


def test_files_that_do_not_hold_together_are_not_believed(data: Path, tmp_path: Path) -> None:
    request = asked(listed(data, ["a.mrcs"], "one.star"), tmp_path / "job", dose_weighting=False)
    assert run(request).returncode == 0
    collect = RelionLikeRunner().collect
    collect(request, tmp_path / "log")
    assert not (request.output_dir / "micrographs/a_noDW.mrc").exists()
    own = request.output_dir / "micrographs/a.star"
    blocks = read_star(own)
    short = {label: values[:-1] for label, values in blocks["global_shift"].columns.items()}
    write_star(own, [blocks["general"], make_block("global_shift", short)])
    with pytest.raises(StageFailure, match="7 shifts"):
        collect(request, tmp_path / "log")
    write_star(own, blocks)
    with (request.output_dir / "micrographs/a.mrc").open("r+b") as stream:
        stream.truncate(50_000)
    with pytest.raises(StageFailure, match="truncated"):
        collect(request, tmp_path / "log")


def test_movies_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"inputs\.movies"):
        RelionLikeRunner().plan(asked(tmp_path / "x", tmp_path).model_copy(update={"inputs": {}}))
