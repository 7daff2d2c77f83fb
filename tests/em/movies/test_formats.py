"""Movies written and read back, against tifffile, imagecodecs, mrcfile and the layouts in closed form."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.movies.bigtiff import LONG, SHORT, Picture, write_pictures
from cryorepro.em.movies.eer_writer import events_of_counts, write_movie_eer
from cryorepro.em.movies.opening import open_movie
from cryorepro.em.movies.writers import Compression, write_movie_mrc, write_movie_tiff
from tests.em.movies.movie_files import KINDS, counts, write_kind

TIFF_TYPES = ("uint8", "int8", "uint16", "int16", "float32")
COMPRESSIONS: tuple[Compression, ...] = ("none", "lzw", "deflate")
MRC_TYPES = {0: "int8", 1: "int16", 2: "float32", 6: "uint16", 12: "float16", 101: "uint8"}
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 13), st.integers(1, 13))


def read(path: Path, **options: Any) -> NDArray[Any]:
    with open_movie(path, **options) as movie:
        return movie.read_all()


def values(dtype: str, highest: int | None = None) -> st.SearchStrategy[NDArray[Any]]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        small = st.floats(-1e4, 1e4, width=16)
        elements: st.SearchStrategy[Any] = small if kind.itemsize == 2 else st.floats(-1e9, 1e9, width=32)
    else:
        elements = st.integers(int(np.iinfo(kind).min), highest or int(np.iinfo(kind).max))
    return arrays.arrays(kind, SHAPES, elements=elements)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", TIFF_TYPES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_tiff_round_trip(dtype: str, compression: Compression, data: st.DataObject) -> None:
    frames = data.draw(values(dtype))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.tif"
        write_movie_tiff(path, frames, compression)
        found = read(path)
        reference = np.stack([tifffile.imread(path, key=i) for i in range(len(frames))])
    assert found.dtype == frames.dtype
    np.testing.assert_array_equal(found, frames)
    np.testing.assert_array_equal(reference, frames)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{"predictor": True, "compression": "lzw"}, {"tile": (16, 16)}, {}], ids=str)
def test_tiff_of_others(order: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Both byte orders, tiles and predictors, as other programs write them."""
    frames = counts(shape=(20, 33)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "movie.tif", byteorder=order) as writer:  # type: ignore[arg-type]
        for frame in frames:
            writer.write(frame, metadata=None, contiguous=False, photometric="minisblack", **options)
    np.testing.assert_array_equal(read(tmp_path / "movie.tif"), frames)


@pytest.mark.parametrize("columns", [6, 7, 2000])
def test_packed_tiff(columns: int, tmp_path: Path) -> None:
    """4-bit pixels, the first in the upper half of a byte (TIFF 6.0, FillOrder 1), as some K2 programs write them."""
    frames = np.random.default_rng(0).integers(0, 16, (2, 1100, columns)).astype(np.uint8)
    padded = np.pad(frames, ((0, 0), (0, 0), (0, columns % 2)))
    packed = padded[:, :, 0::2] << 4 | padded[:, :, 1::2]
    tags = [(256, LONG, columns), (257, LONG, 1100), (258, SHORT, 4), (259, SHORT, 1), (262, SHORT, 1),
            (277, SHORT, 1), (278, LONG, 1100)]  # fmt: skip
    with (tmp_path / "movie.tif").open("w+b") as stream:
        write_pictures(stream, [Picture(frame.tobytes(), tags) for frame in packed])
    np.testing.assert_array_equal(read(tmp_path / "movie.tif"), frames)


@pytest.mark.parametrize("mode", MRC_TYPES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_mrc_round_trip(mode: int, data: st.DataObject) -> None:
    frames = data.draw(values(MRC_TYPES[mode], 15 if mode == 101 else None))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.mrcs"
        write_movie_mrc(path, frames, mode, pixel_size_angstrom=0.5)
        found = read(path)
        if mode != 101:
            reference = mrcfile.read(path)
            np.testing.assert_array_equal(reference.reshape(frames.shape), frames)
    assert found.dtype == np.dtype(MRC_TYPES[mode])
    np.testing.assert_array_equal(found, frames)


@pytest.mark.parametrize("columns", [4, 5])
def test_packed_bytes_are_as_imod_says(columns: int, tmp_path: Path) -> None:
    """Mode 101: the first pixel in the low four bits, rows begin on a byte, the header counts pixels."""
    frames = np.arange(2 * 3 * columns, dtype=np.uint8).reshape(2, 3, columns) % 16
    write_movie_mrc(tmp_path / "movie.mrcs", frames, 101)
    raw = (tmp_path / "movie.mrcs").read_bytes()
    assert np.frombuffer(raw[:16], dtype="<i4").tolist() == [columns, 3, 2, 101]
    row = frames[0, 1].tolist() + [0] * (columns % 2)
    width = len(row) // 2
    assert list(raw[1024 + width : 1024 + 2 * width]) == [
        low + 16 * high for low, high in zip(*[iter(row)] * 2, strict=True)
    ]
    assert len(raw) == 1024 + 6 * width


def test_big_endian_mrc(tmp_path: Path) -> None:
    frames = counts().astype(np.int16)
    with mrcfile.new(tmp_path / "movie.mrcs", data=frames) as file:
        file.set_image_stack()
    raw = (tmp_path / "movie.mrcs").read_bytes()
    words = np.frombuffer(raw[:208], dtype="<i4").astype(">i4").tobytes()
    stamped = words + raw[208:212] + b"\x11\x11\0\0" + raw[216:1024]
    (tmp_path / "big.mrcs").write_bytes(stamped + frames.astype(">i2").tobytes())
    found = read(tmp_path / "big.mrcs")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, frames)


def random_events(shape: tuple[int, int], frames: int, rate: float, seed: int) -> list[NDArray[np.int64]]:
    stream = np.random.default_rng(seed)
    events = []
    for _ in range(frames):
        rows, columns = np.nonzero(stream.random(shape) < rate)
        inside = stream.integers(0, 4, (2, len(rows)))
        events.append(np.stack([4 * rows + inside[0], 4 * columns + inside[1]], axis=1))
    return events


def rendered(events: list[NDArray[np.int64]], shape: tuple[int, int], factor: int) -> NDArray[np.int64]:
    """Every event as a count on a grid of ``factor`` pixels per detector pixel: the definition."""
    frames = np.zeros((len(events), shape[0] * factor, shape[1] * factor), dtype=np.int64)
    for frame, places in zip(frames, events, strict=True):
        np.add.at(frame, tuple((places * factor // 4).T), 1)
    return frames


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    frames=st.integers(1, 7),
    rate=st.sampled_from([0.0, 0.003, 0.1, 0.7, 1.0]),
    run_bits=st.sampled_from([5, 7, 12]),
    factor=st.sampled_from([1, 2, 4]),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_eer_round_trip(
    shape: tuple[int, int], frames: int, rate: float, run_bits: int, factor: int, data: st.DataObject
) -> None:
    if factor == 2:
        shape = 2 * shape[0], 2 * shape[1]
    events = random_events(shape, frames, rate, seed=data.draw(st.integers(0, 1000)))
    fractions = data.draw(st.integers(1, frames))
    truth = rendered(events, shape, factor)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.eer"
        write_movie_eer(path, events, shape, run_bits=run_bits)
        with open_movie(path, eer_fractions=fractions, eer_super_resolution=factor) as movie:
            found, taken = movie.read_all(), movie.hardware_frames
        with tifffile.TiffFile(path, superres={1: 0, 2: 1, 4: 2}[factor]) as file:
            assert file.is_eer
            reference = np.stack([page.asarray() for page in file.pages])
    np.testing.assert_array_equal(reference, truth)
    assert sum(taken) == frames
    assert max(taken) - min(taken) <= 1
    bounds = np.cumsum([0, *taken])
    expected = np.stack([truth[a:b].sum(axis=0) for a, b in zip(bounds, bounds[1:], strict=False)])
    np.testing.assert_array_equal(found, expected)


def test_more_than_255_events_in_a_pixel_are_counted(tmp_path: Path) -> None:
    write_movie_eer(tmp_path / "movie.eer", [np.array([[5, 6]])] * 300, (3, 4))
    found = read(tmp_path / "movie.eer", eer_fractions=1)
    assert found.dtype == np.uint16
    assert found[0, 1, 1] == 300
    assert found.sum() == 300


@given(seed=st.integers(0, 10**6), frames=st.integers(1, 30), mean=st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_spread_counts_lose_nothing(seed: int, frames: int, mean: float) -> None:
    stream = np.random.default_rng(seed)
    drawn = np.minimum(stream.poisson(mean, (9, 11)), frames)
    events = events_of_counts(drawn, frames, stream)
    assert len(events) == frames
    total = rendered(events, (9, 11), 1)
    np.testing.assert_array_equal(total.sum(axis=0), drawn)
    assert total.max() <= 1


def test_events_in_one_pixel_or_outside_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two events in one pixel"):
        write_movie_eer(tmp_path / "a.eer", [np.array([[0, 0], [3, 3]])], (4, 4))
    with pytest.raises(InputError, match="outside 16 x 16"):
        write_movie_eer(tmp_path / "a.eer", [np.array([[0, 16]])], (4, 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_one_frame_is_that_of_all(kind: str, tmp_path: Path) -> None:
    frames = counts()
    with open_movie(write_kind(tmp_path, kind, frames), eer_fractions=4) as movie:
        assert (movie.frames, movie.shape) == (4, (12, 17))
        np.testing.assert_array_equal(movie.read_frame(2), frames[2])
        np.testing.assert_array_equal(movie.read_all(), frames)
        with pytest.raises(InputError, match="frame 5 was asked for, but the movie has 4"):
            movie.read_frame(4)


def test_odd_detectors_have_no_factor_2(tmp_path: Path) -> None:
    path = write_kind(tmp_path, "eer", counts())
    with pytest.raises(InputError, match="12 x 17 pixels, odd sides"):
        open_movie(path, eer_super_resolution=2)
    with pytest.raises(InputError, match="3 is not one of 1, 2 and 4"):
        open_movie(path, eer_super_resolution=3)
    with pytest.raises(InputError, match="61 fractions cannot be made of 60"):
        open_movie(path, eer_fractions=61)
