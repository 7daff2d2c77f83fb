"""Maps and written stacks, held against mrcfile and the real RELION."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.formats.maps import read_map, write_map, write_stack
from cryorepro.em.formats.stack_writer import write_stack_chunks
from tests.em.real_data import real_data


def volume(shape: tuple[int, int, int] = (6, 8, 10), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_written_map_is_valid_and_the_same_to_mrcfile(tmp_path: Path) -> None:
    data = volume()
    write_map(tmp_path / "m.mrc", data, 1.34)
    assert mrcfile.validate(tmp_path / "m.mrc")
    with mrcfile.open(tmp_path / "m.mrc") as handle:
        np.testing.assert_array_equal(handle.data, data)
        assert handle.is_volume() and float(handle.voxel_size.x) == pytest.approx(1.34, rel=1e-6)
        assert float(handle.header.rms) == pytest.approx(float(data.astype(np.float64).std()), rel=1e-5)
    back, pixel = read_map(tmp_path / "m.mrc")
    np.testing.assert_array_equal(back, data)
    assert pixel == 1.34 and back.dtype == np.float32


def test_relion_sees_the_same_map(tmp_path: Path) -> None:
    data = volume((16, 16, 16))
    data[3, 5, 7] = 40.0  # z, y, x
    write_map(tmp_path / "m.mrc", data, 2.5)
    run = subprocess.run(
        ["relion_image_handler", "--i", "m.mrc", "--stats"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = {k: float(v) for k, v in re.findall(r"(avg|stddev|maxval|angpix)\s*= *(\S+?)(?:;|\s|$)", run.stdout)}
    assert found["angpix"] == pytest.approx(2.5) and found["maxval"] == pytest.approx(40.0)
    assert found["avg"] == pytest.approx(float(data.mean()), abs=1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_written_stacks(half: bool, tmp_path: Path) -> None:
    data = volume((5, 8, 8))
    write_stack(tmp_path / "s.mrcs", data, 2.0, half_precision=half)
    assert mrcfile.validate(tmp_path / "s.mrcs")
    with mrcfile.open(tmp_path / "s.mrcs") as handle:
        assert handle.is_image_stack() and int(handle.header.mode) == (12 if half else 2)
        np.testing.assert_array_equal(handle.data, data.astype(np.float16 if half else np.float32))


def test_chunks_give_the_same_data_as_one_piece(tmp_path: Path) -> None:
    data = volume((11, 8, 8))
    write_stack_chunks(tmp_path / "c.mrcs", (data[i : i + 4] for i in (0, 4, 8)), 11, 8, 2.0)
    assert mrcfile.validate(tmp_path / "c.mrcs")
    with mrcfile.open(tmp_path / "c.mrcs") as handle:
        np.testing.assert_array_equal(handle.data, data)
        assert float(handle.header.rms) == pytest.approx(float(data.astype(np.float64).std()), rel=1e-5)
    for count, chunk in ((12, data), (11, data[:, :4])):
        with pytest.raises(InputError):
            write_stack_chunks(tmp_path / "bad.mrcs", [chunk], count, 8, 2.0)
    assert [p.name for p in tmp_path.iterdir()] == ["c.mrcs"]


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_map(tmp_path / name, volume(), 1.34)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.floats(0.1, 50.0).map(lambda v: float(f"{v:.6g}")),
    st.integers(0, 2**16),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], pixel: float, seed: int
) -> None:
    path = tmp_path_factory.mktemp("map") / "m.mrc"
    write_map(path, volume(shape, seed), pixel)
    back, size = read_map(path)
    np.testing.assert_array_equal(back, volume(shape, seed))
    assert size == pytest.approx(pixel, rel=1e-5)


def test_axes_in_another_order_are_brought_to_zyx(tmp_path: Path) -> None:
    data = volume()
    with mrcfile.new(tmp_path / "m.mrc") as handle:
        handle.set_data(np.ascontiguousarray(data.transpose(2, 0, 1)))  # columns run along y, rows z, sections x
        handle.voxel_size = 1.5
        handle.header.mapc, handle.header.mapr, handle.header.maps = 2, 3, 1
    np.testing.assert_array_equal(read_map(tmp_path / "m.mrc")[0], data)


def test_the_real_map() -> None:
    path = real_data("small_stacks", "cryojax_trpv1_volume.mrc")
    back, pixel = read_map(path)
    with mrcfile.open(path, permissive=True) as handle:
        np.testing.assert_array_equal(back, handle.data)
    assert pixel == pytest.approx(4.88, abs=1e-6)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    data = volume()
    data[1, 2, 3] = np.nan
    write_map(tmp_path / "nan.mrc", data, 1.0)
    with pytest.raises(InputError, match=r"nan\.mrc: the map has NaN"):
        read_map(tmp_path / "nan.mrc")
    with mrcfile.new(tmp_path / "bare.mrc") as handle:
        handle.set_data(volume())
    with pytest.raises(InputError, match=r"bare\.mrc: the header has no voxel size"):
        read_map(tmp_path / "bare.mrc")
    assert read_map(tmp_path / "bare.mrc", 3.0)[1] == 3.0
    with mrcfile.new(tmp_path / "skew.mrc") as handle:
        handle.set_data(volume())
        handle.voxel_size = (1.0, 1.0, 2.0)
    with pytest.raises(InputError, match="not cubic"):
        read_map(tmp_path / "skew.mrc")
    (tmp_path / "packed.mrc").write_bytes(gzip.compress(bytes(5000)))
    with pytest.raises(InputError, match=r"packed\.mrc: not an MRC file"):
        read_map(tmp_path / "packed.mrc")
    for shape, pixel in (((4, 4), 1.0), ((0, 4, 4), 1.0), ((4, 4, 4), 0.0), ((4, 4, 4), np.nan)):
        with pytest.raises(InputError, match=r"bad\.mrc"):
            write_map(tmp_path / "bad.mrc", np.zeros(shape), pixel)
