"""Known motions are found: whole frames, local motion, with fixed patterns and with next to nothing to align."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cryorepro.em.errors import InputError
from cryorepro.em.motion.correct import MotionSettings, correct_movie
from cryorepro.em.motion.raw_frames import ArrayFrames
from tests.em.motion.moving import MovingScene

SETTINGS = MotionSettings(1.0, 300.0)


def grid(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    along = np.linspace(0.05 * side, 0.95 * side, 6)
    y, x = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    return x, y


def residual(scene: MovingScene, movie: NDArray[np.uint8], settings: MotionSettings = SETTINGS) -> float:
    found = correct_movie(ArrayFrames(movie), settings)
    x, y = grid(scene.size)
    return scene.residual_px(found.trajectory.at(x, y), x, y)


def test_whole_frames_are_found_to_a_tenth_of_a_pixel() -> None:
    scene = MovingScene(size=512, contrast=0.25)
    x, y = grid(scene.size)
    assert scene.residual_px(np.zeros((scene.frames, 2, len(x))), x, y) > 3.0
    assert residual(scene, scene.movie()) < 0.1


def test_local_motion_that_relaxes_is_found() -> None:
    scene = MovingScene(size=768, contrast=0.2, local_px=4.0)
    movie = scene.movie()
    whole = residual(scene, movie, replace(SETTINGS, patches=(1, 1)))
    assert residual(scene, movie) < 0.15 < 0.6 < whole


def test_a_long_drift_is_found() -> None:
    drift = tuple((7.0 * frame, -5.0 * frame) for frame in range(10))
    scene = MovingScene(size=512, frames=10, contrast=0.25, drift_px=drift)
    assert residual(scene, scene.movie()) < 0.15


def test_fixed_patterns_do_not_hold_the_frames() -> None:
    """A gain that was not corrected, and hot pixels, stay in place while the specimen moves."""
    rng = np.random.default_rng(9)
    scene = MovingScene(size=512, contrast=0.25)
    gain = rng.normal(1.0, 0.05, (512, 512)).clip(0.7)
    hot = tuple((int(row), int(column)) for row, column in rng.integers(0, 512, (40, 2)))
    assert residual(scene, scene.movie(gain, hot)) < 0.15


def test_nothing_to_align_stays_about_where_it_is() -> None:
    noise = np.random.default_rng(2).poisson(1.0, (8, 256, 256)).astype(np.uint8)
    found = correct_movie(ArrayFrames(noise), SETTINGS)
    assert not found.trajectory.is_local
    assert np.abs(found.trajectory.whole_px).max() < 0.5 * SETTINGS.largest_shift_angstrom


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_movies_of_few_frames(frames: int) -> None:
    scene = MovingScene(size=256, frames=frames, rate=4.0, contrast=0.3)
    movie = scene.movie()
    found = correct_movie(ArrayFrames(movie), replace(SETTINGS, accumulated_e_per_angstrom2=np.arange(1.0, frames + 1)))
    assert found.trajectory.frames == frames
    assert found.weighted is not None and np.isfinite(found.weighted).all()
    x, y = grid(256)
    assert scene.residual_px(found.trajectory.at(x, y), x, y) < 0.3


def test_sums_are_sharp_and_keep_their_scale() -> None:
    scene = MovingScene(size=512, contrast=0.25, local_px=3.0)
    movie = scene.movie(hot=((100, 200), (30, 40)))
    exposures = np.arange(1.0, scene.frames + 1)
    found = correct_movie(ArrayFrames(movie), replace(SETTINGS, accumulated_e_per_angstrom2=exposures))
    assert found.weighted is not None and found.unweighted is not None
    assert found.unweighted.mean() == pytest.approx(movie.sum(axis=0).mean(), rel=2e-3)
    # the weights' squares sum to 1 and they are equal at frequency 0
    assert found.weighted.mean() == pytest.approx(found.unweighted.mean() / np.sqrt(scene.frames), rel=1e-3)
    assert {tuple(place) for place in found.bad_pixels.tolist()} >= {(200, 100), (40, 30)}
    assert found.unweighted.max() < 40
    true = scene.scene()[64:-64, 64:-64]
    middle = slice(40, -40)
    k = np.hypot(np.fft.fftfreq(432)[:, None], np.fft.rfftfreq(432)[None])

    def agreement(image: NDArray[np.floating]) -> float:
        first, second = np.fft.rfft2(image[middle, middle]), np.fft.rfft2(true[middle, middle])
        band = (k > 0.08) & (k < 0.1)
        cross = (first * second.conj()).real[band].sum()
        return float(cross / np.sqrt((abs(first[band]) ** 2).sum() * (abs(second[band]) ** 2).sum()))

    assert agreement(movie.sum(axis=0)) < 0.2 < 0.6 < agreement(found.unweighted)


def test_binned_sums_are_a_crop_in_fourier_space() -> None:
    scene = MovingScene(size=256, frames=4, contrast=0.3)
    movie = scene.movie()
    settings = replace(SETTINGS, accumulated_e_per_angstrom2=np.arange(1.0, 5.0))
    whole = correct_movie(ArrayFrames(movie), settings)
    small = correct_movie(ArrayFrames(movie), replace(settings, binned=2.0))
    for image, half in ((whole.weighted, small.weighted), (whole.unweighted, small.unweighted)):
        assert image is not None and half is not None
        expected = np.fft.rfft2(image)[np.r_[:64, -64:0], :65]
        assert half.shape == (128, 128)
        assert np.allclose(np.fft.rfft2(half)[1:, :64] * 4, expected[1:, :64], atol=0.02 * np.abs(expected[1:]).max())
        assert half.mean() == pytest.approx(image.mean(), rel=1e-4)


def test_little_memory_changes_no_bit() -> None:
    movie = MovingScene(size=256, frames=10, contrast=0.3).movie()
    settings = replace(SETTINGS, accumulated_e_per_angstrom2=np.arange(1.0, 11.0))
    plenty, little = (
        correct_movie(ArrayFrames(movie.copy()), replace(settings, memory_bytes=limit)) for limit in (2**30, 1)
    )
    assert plenty.weighted is not None and little.weighted is not None
    assert np.array_equal(plenty.weighted, little.weighted)
    assert np.array_equal(plenty.trajectory.coefficients, little.trajectory.coefficients)


def test_frames_that_cannot_be_used_are_refused() -> None:
    movie = np.ones((4, 128, 128), dtype=np.float32)
    movie[2] = 0
    with pytest.raises(InputError, match="Frame 3 is zero"):
        correct_movie(ArrayFrames(movie), SETTINGS)
    movie[2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        correct_movie(ArrayFrames(movie), SETTINGS)
    with pytest.raises(InputError, match=r"gain reference has shape \(64, 128\)"):
        correct_movie(ArrayFrames(movie), SETTINGS, np.ones((64, 128), dtype=np.float32))
    with pytest.raises(InputError, match="3 exposures were given for 4 frames"):
        correct_movie(ArrayFrames(movie), replace(SETTINGS, accumulated_e_per_angstrom2=np.arange(3.0)))
