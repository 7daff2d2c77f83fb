"""Gain references of every format and orientation, and those that do not fit."""

from __future__ import annotations

from pathlib import Path

import dm4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.movies.gain import FLIPS, Flip, fit_gain, orient, read_gain
from cryorepro.em.movies.gatan import read_gatan
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from tests.em.movies.dm_files import DATA_TYPES, DmFile, dm_bytes, write_dm

GAIN = np.random.default_rng(3).uniform(0.5, 2.0, (5, 7)).astype(np.float32)


@pytest.mark.parametrize("name", ["gain.mrc", "gain.tif", "gain.dm4", "gain.dm3"])
def test_every_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("mrc"):
        write_movie_mrc(path, GAIN[None], 2)
    elif name.endswith("tif"):
        write_movie_tiff(path, GAIN[None], "lzw")
    else:
        write_dm(path, GAIN, version=int(name[-1]))
    found = read_gain(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, GAIN)
    np.testing.assert_array_equal(read_gain(path, flip="y"), GAIN[::-1])


@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("turns", [-1, 0, 1, 2, 3, 4])
def test_orientation_pixel_by_pixel(flip: Flip, turns: int) -> None:
    """A clockwise quarter turn takes (row, column) of n rows to (column, n - 1 - row); then the mirror."""
    expected = GAIN
    for _ in range(turns % 4):
        rows, columns = expected.shape
        turned = np.empty((columns, rows), dtype=np.float32)
        for row in range(rows):
            for column in range(columns):
                turned[column, rows - 1 - row] = expected[row, column]
        expected = turned
    if flip == "x":
        expected = np.array([line[::-1] for line in expected])
    elif flip == "y":
        expected = np.array(list(expected)[::-1])
    np.testing.assert_array_equal(orient(GAIN, flip, turns), expected)


def test_reciprocal_of_a_flat_exposure(tmp_path: Path) -> None:
    flat = np.array([[100.0, 200.0, 0.0], [300.0, 200.0, 200.0]], dtype=np.float32)
    write_movie_tiff(tmp_path / "flat.gain", flat[None], "none")
    found = read_gain(tmp_path / "flat.gain", reciprocal=True)
    np.testing.assert_allclose(found, [[2.0, 1.0, 0.0], [200 / 300, 1.0, 1.0]], rtol=1e-6)


def test_super_resolution_repeats_the_gain() -> None:
    found = fit_gain(GAIN, (10, 14))
    np.testing.assert_array_equal(found, np.kron(GAIN, np.ones((2, 2), dtype=np.float32)))
    assert fit_gain(GAIN, (5, 7)) is GAIN


def test_a_gain_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"my\.mrc: the gain reference has 5 x 7 pixels, .* 8 x 8\."):
        fit_gain(GAIN, (8, 8), "my.mrc")
    with pytest.raises(InputError, match="a quarter turn would make it fit"):
        fit_gain(GAIN, (7, 5))


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative"), (None, "zero everywhere")]
)
def test_gains_that_make_no_sense(value: float | None, message: str, tmp_path: Path) -> None:
    gain = np.zeros_like(GAIN) if value is None else GAIN.copy()
    gain[1, 1] = value or 0.0
    write_movie_tiff(tmp_path / "gain.tif", gain[None], "none")
    with pytest.raises(InputError, match=message):
        read_gain(tmp_path / "gain.tif")


def test_a_movie_is_no_gain(tmp_path: Path) -> None:
    write_movie_tiff(tmp_path / "movie.tif", np.stack([GAIN, GAIN]), "none")
    with pytest.raises(InputError, match="is one picture, but the file holds 2"):
        read_gain(tmp_path / "movie.tif")
    (tmp_path / "gain.dm4").write_text("no gain")
    with pytest.raises(InputError, match=r"gain\.dm4: neither a TIFF"):
        read_gain(tmp_path / "gain.dm4")


@pytest.mark.parametrize("kind", DATA_TYPES)
@pytest.mark.parametrize("little", [True, False], ids=["little", "big"])
@pytest.mark.parametrize("version", [3, 4])
def test_gatan_types(version: int, little: bool, kind: str, tmp_path: Path) -> None:
    picture = np.arange(35).reshape(5, 7).astype(kind)
    write_dm(tmp_path / "a.dm", picture, version, little)
    found = read_gatan(tmp_path / "a.dm", "picture")
    assert found.dtype == picture.dtype
    np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize("kind", ["i2", "f4", "u2", "i4", "f8"])
def test_the_gatan_files_of_these_tests_read_in_another_library(kind: str, tmp_path: Path) -> None:
    picture = np.arange(35).reshape(5, 7).astype(kind)
    write_dm(tmp_path / "a.dm4", picture)
    with dm4.DM4File.open(str(tmp_path / "a.dm4")) as file:
        images = file.read_directory().named_subdirs["ImageList"].unnamed_subdirs
        data = images[1].named_subdirs["ImageData"]
        pixels = file.read_tag_data(data.named_tags["Data"])
        sides = [file.read_tag_data(tag) for tag in data.named_subdirs["Dimensions"].unnamed_tags]
    assert sides == [7, 5]
    np.testing.assert_array_equal(np.array(pixels).reshape(5, 7), picture)


def test_gatan_files_without_one_grey_picture(tmp_path: Path) -> None:
    dm = DmFile(4)
    picture = np.ones((2, 3), dtype=np.float32)
    for count in (0, 2):
        images = dm.branch("ImageList", *[dm.image(picture, 2)] * count)
        (tmp_path / "a.dm4").write_bytes(dm.file(images))
        with pytest.raises(InputError, match=f"holds {count}"):
            read_gatan(tmp_path / "a.dm4", "gain reference")
    (tmp_path / "a.dm4").write_bytes(dm.file(dm.branch("ImageList", dm.image(picture, 10))))
    with pytest.raises(InputError, match="6 pixels of float32, not 2 x 3 of u2"):
        read_gatan(tmp_path / "a.dm4", "gain reference")


def test_gatan_files_nested_without_end_are_refused(tmp_path: Path) -> None:
    dm, inner = DmFile(4), b""
    for _ in range(500):
        inner = dm.branch("deeper", *([inner] if inner else []))
    (tmp_path / "a.dm4").write_bytes(dm.file(inner))
    with pytest.raises(InputError, match="more than 64 deep"):
        read_gatan(tmp_path / "a.dm4", "gain reference")


@given(data=st.data(), version=st.sampled_from([3, 4]))
@settings(max_examples=300, deadline=None)
def test_damaged_gatan_files(data: st.DataObject, version: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cut anywhere or with bytes changed: a picture of the right shape, or one sentence."""
    raw = bytearray(dm_bytes(GAIN, version))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.integers(4, len(raw)))
    path = tmp_path_factory.getbasetemp() / "damaged.dm4"
    path.write_bytes(raw[:kept])
    try:
        assert read_gatan(path, "gain reference").ndim == 2
    except InputError as error:
        assert "damaged.dm4" in str(error)
