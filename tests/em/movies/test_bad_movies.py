"""Movies that are damaged or lie about their size: one sentence, before memory is taken."""

from __future__ import annotations

import struct
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.movies.opening import NotAMovie, open_movie
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff
from tests.em.movies.movie_files import KINDS, counts, write_kind

MEBIBYTE = 1024**2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95, 0.999])
def test_truncated(kind: str, kept: float, tmp_path: Path) -> None:
    path = write_kind(tmp_path, kind, counts())
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(InputError, match=path.name), open_movie(path) as movie:
        movie.read_all()


@pytest.mark.parametrize("kind", ["tiff", "eer", "mrc"])
def test_truncation_is_called_that(kind: str, tmp_path: Path) -> None:
    path = write_kind(tmp_path, kind, counts(frames=8))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 3 // 4])
    with pytest.raises(InputError, match="truncated"):
        open_movie(path)


def test_a_missing_detector_frame_is_noticed(tmp_path: Path) -> None:
    """The directory chain of an EER file ends early, as if its last frame had never been there."""
    path = write_kind(tmp_path, "eer", counts())
    raw = bytearray(path.read_bytes())
    ends = _directory_pointers(raw)
    raw[ends[-2] : ends[-2] + 8] = bytes(8)
    path.write_bytes(raw)
    with pytest.raises(InputError, match="declare 60 detector frames, but 59 are there"):
        open_movie(path)


def test_a_detector_frame_without_bytes_is_noticed(tmp_path: Path) -> None:
    path = write_kind(tmp_path, "eer", counts())
    raw = bytearray(path.read_bytes())
    directory = struct.unpack("<Q", raw[8:16])[0]
    tags = struct.unpack("<Q", raw[directory : directory + 8])[0]
    for at in range(directory + 8, directory + 8 + 20 * tags, 20):
        if struct.unpack("<H", raw[at : at + 2])[0] == 279:
            raw[at + 12 : at + 20] = bytes(8)
    path.write_bytes(raw)
    with pytest.raises(InputError, match="picture 1 has no pixel data"):
        open_movie(path)


def _directory_pointers(raw: bytearray) -> list[int]:
    """Where each BigTIFF directory's pointer to the next is."""
    places, offset = [], struct.unpack("<Q", raw[8:16])[0]
    while offset:
        tags = struct.unpack("<Q", raw[offset : offset + 8])[0]
        places.append(offset + 8 + 20 * tags)
        offset = struct.unpack("<Q", raw[places[-1] : places[-1] + 8])[0]
    return places


def _patched_tiff(path: Path, changes: dict[int, int]) -> None:
    """Overwrite the values of tags in the first directory of a classic little-endian TIFF file."""
    raw = bytearray(path.read_bytes())
    directory = struct.unpack("<I", raw[4:8])[0]
    for at in range(directory + 2, directory + 2 + 12 * struct.unpack("<H", raw[directory : directory + 2])[0], 12):
        tag, kind = struct.unpack("<HH", raw[at : at + 4])
        if tag in changes:
            raw[at + 2 : at + 4] = struct.pack("<H", 4 if kind == 3 else kind)
            raw[at + 8 : at + 12] = struct.pack("<I", changes[tag])
    path.write_bytes(raw)


def _huge_mrc(path: Path) -> None:
    write_movie_mrc(path, counts(), 6)
    raw = bytearray(path.read_bytes())
    raw[:12] = struct.pack("<3i", 60_000, 60_000, 30_000)
    path.write_bytes(raw)


def _huge_packed(path: Path) -> None:
    write_movie_mrc(path, counts(), 101)
    raw = bytearray(path.read_bytes())
    raw[:12] = struct.pack("<3i", 60_000, 60_000, 30_000)
    path.write_bytes(raw)


def _huge_tiff(path: Path) -> None:
    write_movie_tiff(path, counts(), "none")
    _patched_tiff(path, {256: 60_000, 257: 60_000, 278: 60_000})


def _huge_deflate(path: Path) -> None:
    write_movie_tiff(path, counts(), "deflate")
    _patched_tiff(path, {256: 60_000, 257: 60_000, 278: 60_000})


def _wide_tiff(path: Path) -> None:
    write_movie_tiff(path, counts(), "none")
    _patched_tiff(path, {256: 4_000_000_000})


HUGE: dict[str, Callable[[Path], None]] = {
    "mrc": _huge_mrc, "packed": _huge_packed, "tiff": _huge_tiff, "deflate": _huge_deflate, "wide": _wide_tiff,
}  # fmt: skip


@pytest.mark.parametrize("kind", HUGE)
def test_huge_claims_take_no_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "movie"
    HUGE[kind](path)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="movie"), open_movie(path) as movie:
            movie.read_all()
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_mrc_with_turned_axes_is_refused(tmp_path: Path) -> None:
    write_movie_mrc(tmp_path / "movie.mrcs", counts(), 6)
    raw = bytearray((tmp_path / "movie.mrcs").read_bytes())
    raw[64:76] = struct.pack("<3i", 2, 1, 3)
    (tmp_path / "movie.mrcs").write_bytes(raw)
    with pytest.raises(InputError, match="x, y and frames"):
        open_movie(tmp_path / "movie.mrcs")


def test_a_ring_of_directories_ends(tmp_path: Path) -> None:
    path = tmp_path / "movie.tif"
    write_movie_tiff(path, counts(), "none")
    raw = bytearray(path.read_bytes())
    offset, pointer, first = struct.unpack("<I", raw[4:8])[0], 4, 0
    while offset:
        first = first or offset
        pointer = offset + 2 + 12 * struct.unpack("<H", raw[offset : offset + 2])[0]
        offset = struct.unpack("<I", raw[pointer : pointer + 4])[0]
    raw[pointer : pointer + 4] = struct.pack("<I", first)
    path.write_bytes(raw)
    with pytest.raises(InputError, match="in a ring"):
        open_movie(path)


@pytest.mark.parametrize("content", [b"", b"x", b"# notes on the session\n", b"Frames were lost.\n" * 200])
def test_stray_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(NotAMovie if content else InputError, match="notes.txt"):
        open_movie(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tif: the file cannot be read \(No such file"):
        open_movie(tmp_path / "gone.tif")


def test_prototype_eer_is_refused(tmp_path: Path) -> None:
    """imagecodecs and RELION decode 8-bit runs differently, so neither is believed."""
    path = write_kind(tmp_path, "eer", counts())
    raw = path.read_bytes().replace(struct.pack("<HHQH", 259, 3, 1, 65001), struct.pack("<HHQH", 259, 3, 1, 65000))
    path.write_bytes(raw)
    with pytest.raises(InputError, match="8-bit runs"):
        open_movie(path)


def test_mixed_pictures_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "movie.tif") as writer:
        for side in (8, 9):
            writer.write(np.ones((side, 8), dtype=np.uint8), metadata=None, contiguous=False)
    with pytest.raises(InputError, match=r"picture 2 is \(9, 8\)"):
        open_movie(tmp_path / "movie.tif")


def test_coloured_pictures_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", np.ones((8, 8, 3), dtype=np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="one grey picture"):
        open_movie(tmp_path / "movie.tif")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_any_damage_is_an_input_error(kind: str, data: st.DataObject) -> None:
    """Bytes changed anywhere give frames or an InputError, nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_kind(Path(folder), kind, np.minimum(counts(frames=2, shape=(6, 7)), 2), share=2)
        raw = bytearray(path.read_bytes())
        header = 1100 if kind.startswith("mrc") else len(raw)
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, min(header, len(raw)) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(raw)
        try:
            with open_movie(path) as movie:
                assert movie.read_all().shape == (movie.frames, *movie.shape)
        except InputError as error:
            assert path.name in str(error)
