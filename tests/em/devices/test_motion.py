"""Motion correction on a device that only pretends to be a GPU: the same sums and trajectories, to the bit."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cryorepro.em.devices.choice import CPU
from cryorepro.em.motion import correct, dose, reduced, scoring
from cryorepro.em.motion.correct import CorrectedMovie, MotionSettings, correct_movie
from cryorepro.em.motion.raw_frames import ArrayFrames, RawFrames
from cryorepro.em.motion.resample import _Layout, weighted_sums
from cryorepro.em.motion.trajectory import Trajectory
from tests.em.devices.pretend import GPU, Marked, pretend_gpu
from tests.em.motion.moving import MovingScene

SCENE = MovingScene(size=512, frames=9, rate=3.0, contrast=0.3, local_px=4.0)
SETTINGS = MotionSettings(1.0, 300.0, np.arange(1.0, 10.0), patches=(3, 3))


@pytest.fixture(scope="module")
def movie() -> NDArray[np.uint8]:
    return SCENE.movie(hot=((100, 200), (30, 40)))


@pytest.fixture(scope="module")
def gain() -> NDArray[np.float32]:
    gain = np.random.default_rng(1).normal(1.0, 0.03, (512, 512)).astype(np.float32)
    gain[7, 9] = 0.0
    return gain


@pytest.fixture
def parts_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over parts of spectra have the bits of those parts."""
    for module in (scoring, reduced, dose):
        monkeypatch.setitem(module._ROWS, "cuda", module._ROWS["cpu"])


def _same(ours: CorrectedMovie, theirs: CorrectedMovie, name_of_none: str = "") -> None:
    for name in ("weighted", "unweighted", "background", "bad_pixels"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert (one is None) == (name == name_of_none)
        assert one is None or (type(other) is np.ndarray and np.array_equal(one, other)), name
    assert np.array_equal(ours.trajectory.whole_px, theirs.trajectory.whole_px)
    assert np.array_equal(ours.trajectory.coefficients, theirs.trajectory.coefficients)


@pytest.mark.usefixtures("parts_of_the_cpu")
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("memory", [1 << 30, 1], ids=["held", "read again"])
def test_a_movie_is_corrected_on_the_device_and_has_the_bits_of_the_cpu(
    movie: NDArray[np.uint8], gain: NDArray[np.float32], memory: int, kind: type[np.generic]
) -> None:
    frames: NDArray[Any] = movie.astype(kind)
    settings = replace(SETTINGS, memory_bytes=memory)
    here = correct_movie(ArrayFrames(frames), settings, gain)
    with pretend_gpu() as device:
        there = correct_movie(ArrayFrames(frames), settings, gain, device=GPU)
    assert device.operations > 2000
    assert here.trajectory.is_local and len(here.bad_pixels) >= 3
    _same(here, there)


@pytest.mark.usefixtures("parts_of_the_cpu")
@pytest.mark.parametrize(
    ("changed", "without"),
    [({"binned": 1.5, "unweighted": False}, "unweighted"), ({"accumulated_e_per_angstrom2": None}, "weighted")],
)
def test_other_sums_have_the_bits_of_the_cpu_too(
    movie: NDArray[np.uint8], changed: dict[str, Any], without: str
) -> None:
    settings = replace(SETTINGS, **changed)
    here = correct_movie(ArrayFrames(movie), settings)
    with pretend_gpu():
        there = correct_movie(ArrayFrames(movie), settings, device=GPU)
    _same(here, there, without)


def test_strips_of_several_segments_have_the_bits_of_the_cpu() -> None:
    rng = np.random.default_rng(3)
    coefficients = rng.normal(0.0, 0.15, (2, 18))
    path = Trajectory(rng.normal(0.0, 5.0, (6, 2)), coefficients, 70, 1100)
    assert _Layout.of(path).segments == 8
    frames = [torch.from_numpy(rng.poisson(2.0, (70, 1100)).astype(np.uint8)) for _ in range(6)]
    weights = torch.from_numpy(rng.normal(size=(2, 6)))
    here = weighted_sums(frames, None, path, weights)
    with pretend_gpu():
        there = weighted_sums([frame.to(GPU) for frame in frames], None, path, weights).cpu()
    assert torch.equal(here, there)


def test_the_parts_of_a_gpu_change_last_bits_alone(movie: NDArray[np.uint8]) -> None:
    here = correct_movie(ArrayFrames(movie), SETTINGS)
    with pretend_gpu():
        there = correct_movie(ArrayFrames(movie), SETTINGS, device=GPU)
    np.testing.assert_allclose(here.trajectory.whole_px, there.trajectory.whole_px, atol=2e-3)
    assert here.unweighted is not None and there.unweighted is not None
    # where a shift lies between two of the 128 phases of a pixel, its last bit decides for one of them
    assert np.abs(here.unweighted - there.unweighted).max() < 0.01 * here.unweighted.mean()
    assert np.abs(here.unweighted - there.unweighted).mean() < 1e-5 * here.unweighted.mean()


def test_frames_are_held_where_the_work_is_and_few_when_they_do_not_fit(movie: NDArray[np.uint8]) -> None:
    with pretend_gpu():
        for memory, most in ((1 << 30, 9), (6 * movie[0].nbytes, 4)):
            raw = RawFrames(ArrayFrames(movie), memory, GPU)
            groups = [[len(group), *(isinstance(frame, Marked) for frame in group)] for _, group in raw.groups()]
            assert max(count for count, *_ in groups) == most and sum(count for count, *_ in groups) == 9
            assert all(all(marks) for _, *marks in groups)


def test_a_movie_that_lacks_memory_is_corrected_with_fewer_frames_at_once(
    movie: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pretend_gpu():
        plain = correct_movie(ArrayFrames(movie), SETTINGS, device=GPU)
    asked: list[int] = []

    class Short(RawFrames):
        def __init__(self, source: ArrayFrames, memory_bytes: int, device: torch.device = CPU) -> None:
            asked.append(memory_bytes)
            if memory_bytes > 5 * movie[0].nbytes:
                raise torch.OutOfMemoryError("no memory")
            super().__init__(source, memory_bytes, device)

    monkeypatch.setattr(correct, "RawFrames", Short)
    with caplog.at_level(logging.WARNING), pretend_gpu():
        again = correct_movie(ArrayFrames(movie), SETTINGS, device=GPU)
    assert asked == [movie.nbytes, movie.nbytes // 2]
    assert "once more" in caplog.text and "bytes of frames held" in caplog.text
    _same(plain, again)
