"""Displaced sums, against shifts in Fourier space and splines of another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from cryorepro.em.motion.resample import GROUP, weighted_sums
from cryorepro.em.motion.trajectory import Trajectory

HEIGHT, WIDTH = 150, 200


def smooth_frames(count: int, highest: float = 0.3) -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    k = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    spectra = np.fft.rfft2(rng.normal(size=(count, HEIGHT, WIDTH))) * (k < highest)
    return (10.0 + np.fft.irfft2(spectra, s=(HEIGHT, WIDTH))).astype(np.float32)


def moved(frame: NDArray[np.float32], x: float, y: float) -> NDArray[np.float64]:
    k = np.fft.fftfreq(HEIGHT)[:, None] * y + np.fft.rfftfreq(WIDTH)[None] * x
    return np.fft.irfft2(np.fft.rfft2(frame) * np.exp(-2j * np.pi * k), s=(HEIGHT, WIDTH))


def inner(image: NDArray[np.floating], margin: int = 20) -> NDArray[np.floating]:
    return image[..., margin:-margin, margin:-margin]


def test_whole_frames_move_as_in_fourier_space() -> None:
    frames = smooth_frames(6)
    whole = np.array([[0.0, 0.0], [1.25, -0.5], [-7.4, 3.3], [0.1, 0.9], [12.0, -11.0], [2.5, 2.5]])
    weights = np.random.default_rng(1).normal(size=(3, 6))
    path = Trajectory(whole, np.zeros((2, 18)), HEIGHT, WIDTH)
    found = weighted_sums([torch.from_numpy(f) for f in frames], None, path, torch.from_numpy(weights)).numpy()
    each = np.stack([moved(frame, *shift) for frame, shift in zip(frames, whole, strict=True)])
    expected = np.einsum("sf,fyx->syx", weights, each)
    assert found.shape == (3, HEIGHT, WIDTH)
    assert np.sqrt(((inner(found) - inner(expected)) ** 2).mean()) < 0.005 * inner(expected).std()


def test_local_motion_follows_its_polynomial() -> None:
    frames = smooth_frames(3, highest=0.15)
    coefficients = np.zeros((2, 6, 3))
    coefficients[0, 1], coefficients[0, 4], coefficients[0, 5] = (0.3, 0.06, 0.0), (0.2, 0.0, 0.03), (-0.3, 0.0, 0.0)
    coefficients[1, 3], coefficients[1, 2] = (-0.4, 0.03, 0.0), (0.0, 0.15, 0.0)
    path = Trajectory(np.array([[0.0, 0.0], [3.3, 1.0], [-2.0, 0.6]]), coefficients.reshape(2, 18), HEIGHT, WIDTH)
    gain = np.random.default_rng(2).uniform(0.9, 1.1, (HEIGHT, WIDTH)).astype(np.float32)
    counts = [torch.from_numpy(frame / gain) for frame in frames]
    found = weighted_sums(counts, torch.from_numpy(gain), path, torch.ones(1, 3)).numpy()[0]
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    u, v = x / WIDTH - 0.5, y / HEIGHT - 0.5
    expected = np.zeros((HEIGHT, WIDTH))
    for number, frame in enumerate(frames):
        terms = [np.ones_like(u), u, u**2, v, v**2, u * v]
        shift = [
            path.whole_px[number, axis]
            + sum(coefficients[axis, s, t] * terms[s] * float(number) ** (t + 1) for s in range(6) for t in range(3))
            for axis in range(2)
        ]
        expected += map_coordinates(frame.astype(float), [y - shift[1], x - shift[0]], order=5, mode="nearest")
    rest = inner(found) - inner(expected)
    assert np.sqrt((rest**2).mean()) < 0.02 * inner(expected).std()


def test_noise_keeps_its_power_up_to_high_frequencies() -> None:
    """A linear interpolation halves the power at Nyquist; this one keeps 98% of it at 0.8 of Nyquist."""
    rng = np.random.default_rng(8)
    frames = rng.normal(size=(8, 256, 256)).astype(np.float32)
    whole = rng.uniform(-2, 2, (8, 2))
    path = Trajectory(whole, np.zeros((2, 18)), 256, 256)
    found = weighted_sums([torch.from_numpy(f) for f in frames], None, path, torch.ones(1, 8)).numpy()[0]
    part = found[20:-20, 20:-20]
    power = np.abs(np.fft.rfft2(part * np.hanning(len(part))[:, None] * np.hanning(len(part)))) ** 2
    k = np.hypot(np.fft.fftfreq(len(part))[:, None], np.fft.rfftfreq(len(part))[None])
    low, high = power[(k > 0.05) & (k < 0.2)].mean(), power[(k > 0.36) & (k < 0.42)].mean()
    assert high / low == pytest.approx(0.98, abs=0.05)


def test_frames_added_in_groups_give_the_same_bits() -> None:
    frames = [torch.from_numpy((frame * 10).astype(np.uint16)) for frame in smooth_frames(2 * GROUP + 2)]
    count = len(frames)
    rng = np.random.default_rng(4)
    coefficients = np.zeros((2, 18))
    coefficients[0, 3] = 0.4  # grows along x, so that early frames alone would need narrower windows
    path = Trajectory(rng.normal(size=(count, 2)), coefficients, HEIGHT, WIDTH)
    weights = torch.from_numpy(rng.normal(size=(2, count))).float()
    at_once = weighted_sums(frames, None, path, weights)
    sums = weighted_sums(frames[:GROUP], None, path, weights)
    assert torch.equal(at_once, weighted_sums(frames[GROUP:], None, path, weights, GROUP, sums))


def test_beyond_the_edge_the_outermost_pixels_are_repeated() -> None:
    frame = torch.arange(WIDTH, dtype=torch.float32).expand(HEIGHT, WIDTH).contiguous()
    path = Trajectory(np.array([[40.0, 300.0]]), np.zeros((2, 18)), HEIGHT, WIDTH)
    found = weighted_sums([frame], None, path, torch.ones(1, 1))[0]
    assert torch.allclose(found[:, :25], torch.zeros(1), atol=1e-3)
    assert torch.allclose(found[:, 60:], frame[:, 20:-40], atol=1e-2)
