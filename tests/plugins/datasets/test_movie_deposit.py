"""Real tiers of movies from a local copy: what is listed, what an erratum takes out, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryorepro_datasets.entry_file import load_entry
from cryorepro_datasets.movie_deposit import prepare_movies

from cryorepro.em.errors import InputError
from cryorepro.em.formats.star import read_star
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.table import read_movie_table
from cryorepro.em.movies.writers import write_movie_tiff
from cryorepro.model.dataset import DataRequest, PreparedData

INFO = load_entry("empiar-10288")
ODD = next(each for each in INFO.errata if each.action == "discard-file").files
GAIN = "CountRef_CB1__00826_Feb19_14.19.25.dm4"


@pytest.fixture
def deposit(tmp_path: Path) -> Path:
    folder = tmp_path / "copy" / "data"
    folder.mkdir(parents=True)
    for number in (1, 4, 5, 6, 7):
        frames = np.full((2, 4, 6), number, dtype=np.uint8)
        write_movie_tiff(folder / f"CB1__{number:05d}_Feb18.tif", frames, compression="lzw")
    (folder / "CB1__00004_Feb18.tif").rename(folder / ODD[0])
    (folder / "notes.txt").write_text("no movie")
    for name in (GAIN, "CountRef_CB1__00000_Feb18_23.26.46.dm4"):
        (folder / name).write_bytes(b"0")
    return tmp_path / "copy"


def prepare(home: Path, copy: Path | None, tier: str = "full", **parameters: Any) -> PreparedData:
    request = DataRequest(
        tier=tier,
        directory=home / "data",
        truth_directory=home / "truth",
        seed=3,
        local_path=copy,
        parameters=parameters,
    )
    return prepare_movies(INFO, request)


@pytest.mark.parametrize("inside", ["", "data"])
def test_movies_are_listed_the_odd_one_is_left_out_and_the_gain_is_the_guides(
    tmp_path: Path, deposit: Path, inside: str
) -> None:
    prepared = prepare(tmp_path, deposit / inside)
    table = read_movie_table(prepared.files["movies"])
    assert [Path(name).name for name in table.names] == [f"CB1__{n:05d}_Feb18.tif" for n in (1, 5, 6, 7)]
    assert [open_movie(path).read_frame(0)[0, 0] for path in table.paths] == [1, 5, 6, 7]
    assert table.groups[0].pixel_size_angstrom == INFO.pixel_size_angstrom
    assert prepared.files["gain"].name == GAIN and prepared.files["gain"].is_file()
    assert {(each.action, each.file) for each in prepared.errata} == {("discard-file", ODD[0]), ("flip-gain-y", GAIN)}
    assert prepared.rows == {"movies": 4} and prepared.box_px is None and not prepared.has_truth


def test_a_subset_is_drawn_from_its_seed_and_says_where_it_is_from(tmp_path: Path, deposit: Path) -> None:
    first = prepare(tmp_path / "a", deposit, "subset", movies=2)
    again = prepare(tmp_path / "b", deposit, "subset", movies=2)
    names = read_movie_table(first.files["movies"]).names
    assert names == read_movie_table(again.files["movies"]).names and len(names) == 2
    rows = read_star(first.files["origin_rows"])["origin"].integers("cryoreproDepositRow").tolist()
    listed = [1, 5, 6, 7]
    assert names == [f"movies/CB1__{listed[row - 1]:05d}_Feb18.tif" for row in rows]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"movies": 5}, "5 exceeds the 4"),
        ({"movies": 0}, "parameter movies"),
        ({"movies": 2, "gain": "/nowhere/gain.mrc"}, "gain: /nowhere/gain.mrc does not exist"),
        ({"particles": 5}, "parameter particles"),
    ],
)
def test_a_wrong_parameter_is_named(tmp_path: Path, deposit: Path, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(tmp_path, deposit, "subset", **parameters)


def test_a_copy_that_is_not_the_deposit_is_refused(tmp_path: Path, deposit: Path) -> None:
    with pytest.raises(InputError, match="needs a local copy of the movies"):
        prepare(tmp_path, None)
    with pytest.raises(InputError, match="is not a directory"):
        prepare(tmp_path, deposit / "data" / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file is like"):
        prepare(tmp_path, tmp_path / "empty")
    for gain in (deposit / "data").glob("CountRef*"):
        gain.unlink()
    with pytest.raises(InputError, match="none of the gain references"):
        prepare(tmp_path, deposit)
