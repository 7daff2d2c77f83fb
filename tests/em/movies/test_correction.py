"""Defects and hot pixels: found, declared, and replaced by values that look like their neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.movies.correction import correct_frames
from cryorepro.em.movies.defects import find_hot_pixels, read_defects
from cryorepro.em.movies.writers import write_movie_mrc, write_movie_tiff

SHAPE = (40, 50)


def test_gain_multiplies() -> None:
    frames = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    gain = np.linspace(0.5, 1.5, 12, dtype=np.float32).reshape(3, 4)
    found = correct_frames(frames, gain)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, frames * gain.astype(np.float64), rtol=1e-6)
    np.testing.assert_array_equal(correct_frames(frames), frames)


def test_rectangles_are_x_y_width_height(tmp_path: Path) -> None:
    (tmp_path / "defects.txt").write_text("# x y w h\n3 5 2 4\n\n49 39 1 1  # the corner\n")
    mask = read_defects(tmp_path / "defects.txt", SHAPE)
    expected = np.zeros(SHAPE, dtype=bool)
    expected[5:9, 3:5] = True
    expected[39, 49] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    "line",
    ["1 2 3", "1 2 3 4 5", "a b c d", "-1 0 2 2", "0 0 0 1", "49 0 2 1", "0 39 1 2", "1.5 0 1 1", "9999999999 0 1 1"],
)
def test_lines_that_are_no_rectangle(line: str, tmp_path: Path) -> None:
    (tmp_path / "defects.txt").write_text(f"0 0 1 1\n{line}\n")
    with pytest.raises(InputError, match=r"defects\.txt: line 2"):
        read_defects(tmp_path / "defects.txt", SHAPE)


def test_masks_are_bad_where_they_are_not_zero(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random(SHAPE) < 0.1
    write_movie_tiff(tmp_path / "mask.tif", mask[None].astype(np.uint8), "none")
    write_movie_mrc(tmp_path / "mask.mrc", mask[None], 2)
    for name in ("mask.tif", "mask.mrc"):
        np.testing.assert_array_equal(read_defects(tmp_path / name, SHAPE), mask)
    np.testing.assert_array_equal(read_defects(tmp_path / "mask.tif", SHAPE, turn_tiff=True), mask[::-1])
    np.testing.assert_array_equal(read_defects(tmp_path / "mask.mrc", SHAPE, turn_tiff=True), mask)
    with pytest.raises(InputError, match=r"the defect mask has shape \(40, 50\)"):
        read_defects(tmp_path / "mask.tif", (40, 51))


def test_a_picture_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "defects.txt").write_bytes(b"\xff\xfe1 2 3 4")
    with pytest.raises(InputError, match="not ASCII"):
        read_defects(tmp_path / "defects.txt", SHAPE)
    with pytest.raises(InputError, match="cannot be read"):
        read_defects(tmp_path / "gone.txt", SHAPE)


@pytest.mark.parametrize("mean", [0.5, 4.0, 40.0])
def test_hot_pixels_are_found_and_counts_are_not(mean: float) -> None:
    """A million pixels of Poisson counts give no false alarm; six pixels that fire too often are all found."""
    stream = np.random.default_rng(int(mean * 10))
    frames = stream.poisson(mean / 4, (4, 1000, 1000)).astype(np.uint8)
    hot = np.zeros((1000, 1000), dtype=bool)
    hot[stream.integers(0, 1000, 6), stream.integers(0, 1000, 6)] = True
    frames[:, hot] = 15 + int(mean)
    np.testing.assert_array_equal(find_hot_pixels(frames), hot)
    np.testing.assert_array_equal(find_hot_pixels(frames.sum(axis=0)), hot)


def test_a_hot_pixel_of_a_low_gain_is_none() -> None:
    frames = np.random.default_rng(1).poisson(10.0, (3, 60, 60)).astype(np.uint8)
    gain = np.ones((60, 60), dtype=np.float32)
    frames[:, 7, 9], gain[7, 9] = 100, 0.1
    assert find_hot_pixels(frames)[7, 9]
    assert not find_hot_pixels(frames, gain).any()


def test_replaced_pixels_have_the_statistics_of_good_ones() -> None:
    stream = np.random.default_rng(5)
    frames = stream.poisson(3.0, (200, *SHAPE)).astype(np.uint8)
    bad = stream.random(SHAPE) < 0.05
    bad[10:18, 20:40] = True  # a block whose middle has no good neighbour near it
    frames[:, bad] = 255
    found = correct_frames(frames, defects=bad)
    np.testing.assert_array_equal(found[:, ~bad], frames[:, ~bad])
    replaced = found[:, bad]
    error = (3.0 / replaced.size) ** 0.5
    assert abs(replaced.mean() - 3.0) < 10 * error
    assert abs(replaced.var() - 3.0) < 0.1
    # Frames draw anew: a bad pixel must not repeat itself from frame to frame, or alignment would lock to it.
    steps = replaced - replaced.mean(axis=0)
    assert abs((steps[1:] * steps[:-1]).mean()) < 0.05


def test_pixels_without_gain_are_defects() -> None:
    frames = np.full((2, 6, 6), 5, dtype=np.uint8)
    gain = np.full((6, 6), 2.0, dtype=np.float32)
    gain[2, 3] = 0.0
    np.testing.assert_array_equal(correct_frames(frames, gain), np.full((2, 6, 6), 10.0))


@given(seed=st.integers(0, 1000), share=st.floats(0.0, 0.999))
@settings(max_examples=50, deadline=None)
def test_no_bad_value_survives(seed: int, share: float) -> None:
    stream = np.random.default_rng(seed)
    bad = stream.random((9, 13)) < share
    bad[stream.integers(9), stream.integers(13)] = False
    frames = np.where(bad, 99, stream.integers(0, 9, (3, 9, 13))).astype(np.int16)
    found = correct_frames(frames, defects=bad, seed=seed)
    assert found.max() < 9
    np.testing.assert_array_equal(found, correct_frames(frames, defects=bad, seed=seed))


def test_what_cannot_be_corrected_is_refused() -> None:
    frames = np.ones((2, 4, 5), dtype=np.float32)
    with pytest.raises(InputError, match=r"gain reference has shape \(5, 4\)"):
        correct_frames(frames, np.ones((5, 4), dtype=np.float32))
    with pytest.raises(InputError, match=r"defects has shape|defects have shape"):
        correct_frames(frames, defects=np.zeros((5, 4), dtype=bool))
    with pytest.raises(InputError, match="Every pixel"):
        correct_frames(frames, defects=np.ones((4, 5), dtype=bool))
    frames[1, 2, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        correct_frames(frames)
    repaired = correct_frames(frames, defects=np.asarray(np.isnan(frames).any(axis=0)))
    np.testing.assert_array_equal(repaired, np.ones((2, 4, 5)))
