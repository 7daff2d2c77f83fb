"""The same files in the real RELION: electron events, the orientation of TIFF, and turned gain references."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from cryorepro.em.movies.defects import read_defects
from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.gain import orient, read_gain
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.table import MovieGroup, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from cryorepro.em.reextraction import read_micrograph

GROUP = MovieGroup(300.0, 2.7, 0.1, 1.0)
SIDE = 128


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("factor", [1, 2])
def test_relion_renders_our_events_as_we_do(factor: int, tmp_path: Path) -> None:
    """RELION takes detectors of 4096 x 4096 alone. It writes TIFF upside down, which is how it reads it, too."""
    stream = np.random.default_rng(factor)
    drawn = (stream.random((4096, 4096)) < 0.004).astype(np.uint8)
    drawn[100:140, 3000:3300] = 3
    write_movie_eer(tmp_path / "movie.eer", events_of_counts(drawn, 6, stream), drawn.shape)
    run(
        tmp_path, "relion_convert_to_tiff", "--i", "movie.eer", "--o", "out/", "--eer_grouping", "3",
        "--eer_upsampling", str(factor), "--compression", "none",
    )  # fmt: skip
    theirs = tifffile.imread(tmp_path / "out" / "movie.tif")[:, ::-1]
    with open_movie(tmp_path / "movie.eer", eer_fractions=2, eer_super_resolution=factor) as movie:
        ours = movie.read_all()
    np.testing.assert_array_equal(ours, theirs)
    assert ours.sum() == drawn.sum()


@pytest.mark.parametrize(("name", "divides"), [("flat.mrc", True), ("camera.gain", False)])
def test_gain_of_events_is_relions(name: str, divides: bool, tmp_path: Path) -> None:
    """For EER, RELION divides by an MRC file and multiplies by the camera's own, and turns neither."""
    stream = np.random.default_rng(7)
    drawn = 3 * (stream.random((4096, 4096)) < 0.05).astype(np.uint8)  # the same pixels in all frames: nothing moves
    write_movie_eer(tmp_path / "movie.eer", events_of_counts(drawn, 3, stream), drawn.shape)
    write_movie_table(tmp_path / "movie.eer.star", ["movie.eer"], GROUP)
    gain = np.ones(drawn.shape, dtype=np.float32)
    gain[500:1000], gain[:, 3000:3200] = 1.25, 0.8
    if divides:
        write_movie_mrc(tmp_path / name, gain[None], 2)
    else:
        write_movie_tiff(tmp_path / name, gain[None], "none")
    theirs = summed(tmp_path, "movie.eer", "out", "--gainref", name, "--eer_grouping", "1")
    ours = drawn * read_gain(tmp_path / name, reciprocal=divides)
    scale = theirs.sum() / ours.sum()
    assert abs(scale - 1.0) < 0.05  # the mean that RELION divides by is not quite ours
    np.testing.assert_allclose(theirs, scale * ours, atol=0.01)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint8], NDArray[np.float32]]:
    """A movie that does not move, as MRC and TIFF, with a gain reference as both: what a sum looks like is known."""
    folder = tmp_path_factory.mktemp("still")
    stream = np.random.default_rng(4)
    frame = stream.poisson(20.0, (SIDE, SIDE)).astype(np.uint8)
    frame[10:40, 20:90] += 60
    gain = stream.uniform(0.8, 1.2, (SIDE, SIDE)).astype(np.float32)
    frames = np.stack([frame] * 4)
    write_movie_mrc(folder / "m.mrcs", frames, 2)
    write_movie_tiff(folder / "t.tif", frames, "lzw")
    write_movie_mrc(folder / "g.mrc", gain[None], 2)
    write_movie_tiff(folder / "g.tif", gain[None], "none")
    for name in ("m.mrcs", "t.tif"):
        write_movie_table(folder / f"{name}.star", [name], GROUP)
    return folder, frame, gain


def summed(folder: Path, movie: str, output: str, *options: str) -> NDArray[np.float64]:
    run(
        folder, "relion_run_motioncorr", "--use_own", "--i", f"{movie}.star", "--o", f"{output}/", "--j", "1",
        *(options if "--defect_file" in options else ("--skip_defect", *options)),
    )  # fmt: skip
    micrograph = folder / output / f"{Path(movie).stem}.mrc"
    return read_micrograph(micrograph)


@pytest.mark.parametrize(("movie", "upside_down"), [("m.mrcs", False), ("t.tif", True)])
def test_relion_turns_tiff_upside_down(
    movie: str, upside_down: bool, still: tuple[Path, NDArray[np.uint8], NDArray[np.float32]]
) -> None:
    folder, frame, gain = still
    own = f"g.{'mrc' if movie.startswith('m') else 'tif'}"
    expected = 4.0 * frame * gain
    found = summed(folder, movie, f"{movie}_own", "--gainref", own)
    np.testing.assert_allclose(found, expected[::-1] if upside_down else expected, rtol=1e-4)
    # The other format's gain reference lies upside down on the same movie.
    other = "g.tif" if own == "g.mrc" else "g.mrc"
    crossed = summed(folder, movie, f"{movie}_other", "--gainref", other)
    turned = 4.0 * (frame[::-1] * gain if upside_down else frame * gain[::-1])
    np.testing.assert_allclose(crossed, turned, rtol=1e-4)


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize(("number", "flip"), [(0, "none"), (1, "y"), (2, "x")])
def test_gain_rotation_and_flip_are_relions(
    turns: int, number: int, flip: str, still: tuple[Path, NDArray[np.uint8], NDArray[np.float32]]
) -> None:
    folder, frame, gain = still
    options = ("--gainref", "g.mrc", "--gain_rot", str(turns), "--gain_flip", str(number))
    found = summed(folder, "m.mrcs", f"turned{turns}{number}", *options)
    np.testing.assert_allclose(found, 4.0 * frame * orient(gain, flip, turns), rtol=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("movie", ["m.mrcs", "t.tif"])
@pytest.mark.parametrize("name", ["d.txt", "d.mrc", "d.tif"])
def test_defects_lie_where_relion_sees_them(name: str, movie: str, tmp_path: Path) -> None:
    """Rectangles and masks refer to frames as RELION has them after reading, and a TIFF mask is turned as well.

    Of two bright rectangles that turning exchanges, the one that is declared bad must be gone.
    """
    frame = np.random.default_rng(6).poisson(20.0, (SIDE, SIDE)).astype(np.uint8)
    low, high = np.s_[5:8, 100:107], np.s_[SIDE - 8 : SIDE - 5, 100:107]
    frame[40:100, 10:80] += 50  # a scene of so much contrast that the rectangles do not count as hot
    frame[low], frame[high] = 110, 110
    if movie == "t.tif":
        write_movie_tiff(tmp_path / movie, np.stack([frame] * 4), "lzw")
    else:
        write_movie_mrc(tmp_path / movie, np.stack([frame] * 4), 6)
    write_movie_table(tmp_path / f"{movie}.star", [movie], GROUP)
    (tmp_path / "d.txt").write_text("100 5 7 3\n")
    mask = np.zeros((1, SIDE, SIDE), dtype=np.float32)
    mask[0][low] = 1
    write_movie_mrc(tmp_path / "d.mrc", mask, 2)
    write_movie_tiff(tmp_path / "d.tif", mask, "none")
    found = summed(tmp_path, movie, "out", "--defect_file", name)
    bad = read_defects(tmp_path / name, frame.shape, turn_tiff=True)
    gone, kept = (low, high) if bad[low].all() else (high, low)
    assert bad[gone].all() and bad.sum() == 21
    assert found[kept].min() > 300 > 150 > found[gone].mean()
