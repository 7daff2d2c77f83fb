"""Lists of movies with bad ones among them: those are named and set aside, the rest goes on."""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.em.movies import ahead
from cryorepro.em.movies.ahead import decode_ahead
from cryorepro.em.movies.checking import MovieCheck, check_movies, write_set_aside
from cryorepro.em.movies.exposure import accumulated_exposures, frame_exposures
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.table import MovieGroup, list_directory, read_movie_table, write_movie_table
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from cryorepro.em.parallel import WorkerError
from tests.em.movies.movie_files import counts, write_kind

GROUP = MovieGroup(300.0, 2.7, 0.1, 0.86)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Five good movies of 4 frames, and one of each bad kind."""
    for number in range(5):
        write_movie_tiff(tmp_path / f"good{number}.tif", counts(number))
    write_movie_tiff(tmp_path / "long.tif", counts(9, frames=5))
    write_movie_tiff(tmp_path / "wide.tif", counts(9, shape=(12, 18)))
    write_movie_tiff(tmp_path / "zeros.tif", np.zeros((4, 12, 17), dtype=np.uint8))
    nan = counts(8).astype(np.float32)
    nan[0, 3, 3] = np.nan
    write_movie_mrc(tmp_path / "nan.mrc", nan, 2)
    write_movie_tiff(tmp_path / "cut.tif", counts(7), "none")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:700])
    (tmp_path / "notes.txt").write_text("the beam was lost at noon\n" * 99)
    (tmp_path / "empty.tif").write_bytes(b"")
    return tmp_path


EXPECTED = {
    "cut.tif": "unreadable", "empty.tif": "unreadable", "long.tif": "odd_frame_count", "nan.mrc": "not_finite",
    "notes.txt": "not_a_movie", "wide.tif": "odd_shape", "zeros.tif": "all_zero",
}  # fmt: skip


def outcome(paths: list[Path], check: MovieCheck) -> dict[str, str]:
    return {paths[index].name: each.fault for index, each in check.aside.items()}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_directory_with_everything_in_it(workers: int, mixed: Path) -> None:
    paths = list_directory(mixed)
    check = check_movies(paths, workers=workers)
    assert outcome(paths, check) == EXPECTED
    assert [paths[index].name for index in check.usable] == [f"good{n}.tif" for n in range(5)]
    assert (check.stored_frames, check.frames, check.shape) == (4, 4, (12, 17))
    for index, each in check.aside.items():
        assert paths[index].name in each.reason
    write_set_aside(mixed / "set_aside.star", [path.name for path in paths], paths, check.aside)
    table = read_star(mixed / "set_aside.star")["set_aside"]
    assert dict(zip(table.text("rlnMicrographMovieName"), table.text("cryoreproFault"), strict=True)) == EXPECTED


def test_a_declaration_outweighs_the_majority(mixed: Path) -> None:
    paths = list_directory(mixed)
    check = check_movies(paths, stored_frames=5)
    assert [paths[index].name for index in check.usable] == ["long.tif"]
    assert check.aside[paths.index(mixed / "good0.tif")].reason.endswith("4 frames, declared 5.")
    check = check_movies(paths, shape=(12, 18))
    assert [paths[index].name for index in check.usable] == ["wide.tif"]
    with pytest.raises(InputError, match="has 7 frames"):
        check_movies(paths, stored_frames=7)


def test_without_a_majority_a_declaration_is_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    write_movie_tiff(paths[0], counts(frames=3))
    write_movie_tiff(paths[1], counts(frames=4))
    with pytest.raises(InputError, match="declare which is right"):
        check_movies(paths)
    assert check_movies(paths, stored_frames=3).usable == [0]


def test_nothing_of_use_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"None of 1 movies can be used: .*notes\.txt"):
        check_movies(list_directory(tmp_path))
    with pytest.raises(InputError, match="not a directory"):
        list_directory(tmp_path / "notes.txt")


def test_eer_frames_are_counted_on_the_detector(tmp_path: Path) -> None:
    paths = []
    for number, frames in enumerate((4, 4, 3)):
        folder = tmp_path / str(number)
        folder.mkdir()
        paths.append(write_kind(folder, "eer", counts(number, frames=frames)))
    check = check_movies(paths, eer_fractions=2)
    assert (check.usable, check.stored_frames, check.frames) == ([0, 1], 60, 2)
    assert check.aside[2].fault == "odd_frame_count"
    assert "45 frames, most have 60" in check.aside[2].reason


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_decoded_in_order_whatever_the_workers(workers: int, mixed: Path) -> None:
    paths = list_directory(mixed)
    faults = {}
    for movie in decode_ahead(paths, workers, memory_bytes=1 << 20):
        assert movie.path == paths[movie.index]
        if movie.aside is not None:
            assert movie.frames is None
            faults[movie.path.name] = movie.aside.fault
            continue
        assert movie.frames is not None
        assert movie.hardware_frames == (1,) * len(movie.frames)
        with open_movie(movie.path) as reference:
            np.testing.assert_array_equal(movie.frames, reference.read_all())
    # Odd frame counts and shapes are the check's business: alone, such a movie is as good as any.
    assert faults == {name: fault for name, fault in EXPECTED.items() if not fault.startswith("odd")}


def test_memory_for_decoded_movies_is_bounded(tmp_path: Path) -> None:
    write_movie_tiff(tmp_path / "small.tif", counts())
    write_movie_tiff(tmp_path / "large.tif", counts(frames=40))
    paths = [tmp_path / "small.tif", tmp_path / "large.tif", tmp_path / "small.tif"]
    for workers in (0, 2):
        found = list(decode_ahead(paths, workers, memory_bytes=4096 * (workers + 1)))
        assert [movie.aside is None for movie in found] == [True, False, True]
        assert found[1].aside is not None
        assert "take 8160 bytes, more than the 4096" in found[1].aside.reason


def test_no_more_movies_are_decoded_than_there_is_memory_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one worker there are two slots: while the first movie is in hand, the second is decoded, the third not."""
    paths = [tmp_path / f"{number}.tif" for number in range(4)]
    for number, path in enumerate(paths):
        write_movie_tiff(path, counts(number))

    def noted(path: Path, **options: Any) -> Any:
        path.with_suffix(".begun").touch()
        return open_movie(path, **options)

    monkeypatch.setattr(ahead, "open_movie", noted)
    movies = decode_ahead(paths, 1, memory_bytes=1 << 20)
    next(movies)
    second = paths[1].with_suffix(".begun")
    for _ in range(1000):
        if second.exists():
            break
        signal.sigtimedwait([], 0.01)
    assert second.exists()
    assert not paths[2].with_suffix(".begun").exists()
    movies.close()


def test_a_movie_that_crashes_the_decoder_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.tif" for number in range(5)]
    for number, path in enumerate(paths):
        write_movie_tiff(path, counts(number))

    def crashing(path: Path, **options: Any) -> Any:
        if path == paths[2]:
            faulthandler.disable()
            os.kill(os.getpid(), signal.SIGSEGV)
        return open_movie(path, **options)

    monkeypatch.setattr(ahead, "open_movie", crashing)
    found = list(decode_ahead(paths, 2, memory_bytes=1 << 20))
    assert [movie.index for movie in found if movie.aside] == [2]
    assert found[2].aside is not None
    assert "2.tif: its bytes crash the decoder (SIGSEGV)" in found[2].aside.reason


def test_a_killed_worker_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_movie_tiff(tmp_path / "a.tif", counts())
    monkeypatch.setattr(ahead, "open_movie", lambda path, **options: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(WorkerError, match=r"a\.tif: the process that decoded it was killed"):
        list(decode_ahead([tmp_path / "a.tif"], 1, memory_bytes=1 << 20))


def test_movie_tables(tmp_path: Path) -> None:
    (tmp_path / "movies").mkdir()
    names = ["movies/a.tif", "movies/b.tif"]
    write_movie_tiff(tmp_path / names[0], counts())
    write_movie_table(tmp_path / "movies.star", names, GROUP)
    table = read_movie_table(tmp_path / "movies.star")
    assert table.names == names
    assert table.groups == [GROUP, GROUP]
    assert table.paths == [tmp_path / name for name in names]
    check = check_movies(table.paths)
    assert check.usable == [0]
    assert "b.tif: the file cannot be read" in check.aside[1].reason


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "lists no movie"),
        (["a.tif", "a.tif"], "a movie twice"),
        (["x/a.tif", "y/a.mrc"], "whose micrographs share a name"),
    ],
)
def test_tables_that_cannot_be_used(names: list[str], message: str, tmp_path: Path) -> None:
    write_movie_table(tmp_path / "movies.star", names, GROUP)
    with pytest.raises(InputError, match=message):
        read_movie_table(tmp_path / "movies.star")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("300.0", "-3", "rlnVoltage"),
        ("0.86", "nan", "rlnMicrographOriginalPixelSize"),
        ("data_movies", "data_m", "data_movies is missing"),
    ],
)
def test_tables_with_values_out_of_range(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "movies.star"
    write_movie_table(path, ["a.tif"], GROUP)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        read_movie_table(path)


def test_exposure_of_what_is_there() -> None:
    np.testing.assert_allclose(frame_exposures(60.0, [1] * 40), np.full(40, 1.5))
    np.testing.assert_allclose(frame_exposures(60.0, [1] * 38, stored_frames=40), np.full(38, 1.5))
    shares = frame_exposures(50.0, [3, 4, 3])
    np.testing.assert_allclose(shares, [15.0, 20.0, 15.0])
    np.testing.assert_allclose(accumulated_exposures(shares, 2.0), [17.0, 37.0, 52.0])
    for total, frames, whole in ((0.0, [1], None), (float("nan"), [1], None), (10.0, [], None), (10.0, [2, 2], 3)):
        with pytest.raises(InputError, match="exposure|frames"):
            frame_exposures(total, frames, whole)
