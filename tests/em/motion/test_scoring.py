"""Gradient and curvature of the score, held against differences of the score itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryorepro.em.motion.reduced import binning, reduce_frames
from cryorepro.em.motion.scoring import Band, narrowed, own_power, phases, pulls, solve

SIDE = 48
TRUE = torch.tensor([[0.0, 0.0], [1.2, -0.7], [-0.6, 0.4], [0.5, 0.9]], dtype=torch.float64)


def displaced_frames() -> torch.Tensor:
    """Frames that must be moved by ``TRUE`` to agree."""
    image = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    spectrum, k = torch.fft.fft2(image), torch.fft.fftfreq(SIDE, dtype=torch.float64)
    turns = TRUE[:, 1, None, None] * k[:, None] + TRUE[:, 0, None, None] * k[None, :]
    found: torch.Tensor = torch.fft.ifft2(spectrum * torch.exp(2j * np.pi * turns)).real.float()
    return found


def score(frames: torch.Tensor, shifts: torch.Tensor, weight: np.ndarray) -> float:
    """The weighted correlation of all pairs, from whole complex transforms in numpy."""
    k = np.fft.fftfreq(SIDE)
    spectra = np.fft.fft2(frames.double().numpy())
    turns = shifts[:, 1, None, None].numpy() * k[:, None] + shifts[:, 0, None, None].numpy() * k[None, :]
    moved = spectra * np.exp(-2j * np.pi * turns)
    return float(sum((weight * (moved[i].conj() * moved[j]).real).sum() for i in range(4) for j in range(i)))


@pytest.mark.parametrize("at", [0.0, 0.3])
def test_the_gradient_is_the_scores_own(at: float) -> None:
    frames, band = displaced_frames(), Band.of(SIDE, SIDE, 1, 0.5)
    k = np.fft.fftfreq(SIDE)
    square = k[:, None] ** 2 + k[None, :] ** 2
    weight = np.exp(-0.5 * 300.0 * square) * (1.0 - np.exp(-square / (2 * 0.02**2)))
    shifts = at * TRUE
    spectra = band.transform(frames)
    gradient, curvature = pulls(spectra, own_power(spectra), shifts, band.weight(300.0, 0.02), band)
    step = 1e-3
    for frame in range(4):
        for axis in range(2):
            ends = []
            for sign in (1.0, -1.0):
                moved = shifts.clone()
                moved[frame, axis] += sign * step
                ends.append(score(frames, moved, weight))
            assert float(gradient[frame, axis]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-3, abs=50.0)
    # the mean curvature is minus the mean of the second differences
    bends = []
    for frame in range(4):
        ends = []
        for sign in (1.0, -1.0):
            moved = shifts.clone()
            moved[frame, 0] += sign * 0.05
            ends.append(score(frames, moved, weight))
        bends.append((2 * score(frames, shifts, weight) - sum(ends)) / 0.05**2)
    assert float(curvature[0, 0]) == pytest.approx(np.mean(bends), rel=1e-2)


def test_steps_find_shifts_of_fractions_of_a_pixel() -> None:
    frames, band = displaced_frames(), Band.of(SIDE, SIDE, 1, 0.2)
    spectra = band.transform(frames)
    power, weight, shifts = own_power(spectra), band.weight(300.0, 0.01), torch.zeros(4, 2, dtype=torch.float64)
    for _ in range(5):
        shifts = shifts + solve(*pulls(spectra, power, shifts, weight, band), longest_px=2.0)
    assert (shifts - shifts[0] - TRUE).abs().max() < 1e-4


def test_no_step_without_a_peak() -> None:
    assert not solve(torch.ones(3, 2, dtype=torch.float64), -torch.eye(2, dtype=torch.float64), 2.0).any()


def test_a_band_holds_what_the_whole_transform_holds() -> None:
    images = displaced_frames()
    band = Band.of(SIDE, SIDE, 3, 0.1)
    whole = np.fft.fft2(images.double().numpy())
    rows = [row for row in range(SIDE) if abs(np.fft.fftfreq(SIDE, 3)[row]) <= 0.1]
    expected = whole[:, rows][:, :, : len(band.fx)]
    assert np.allclose(band.transform(images).numpy(), expected, atol=1e-3)
    assert np.abs(band.fx.numpy()).max() <= 0.1 < (len(band.fx) / (3 * SIDE))
    part, used = narrowed(band.transform(images), band, 2000.0)
    assert part.shape[1:] == (len(used.fy), len(used.fx))
    assert float(used.fx.max()) < 0.1


def test_phases_move_content_by_pixels() -> None:
    image = np.random.default_rng(1).normal(size=(SIDE, SIDE))
    k = torch.fft.fftfreq(SIDE)
    spectrum = torch.from_numpy(np.fft.fft2(image)).to(torch.complex64)
    moved = spectrum * phases(k, torch.tensor(2.0))[:, None] * phases(k, torch.tensor(-5.0))[None, :]
    assert np.allclose(torch.fft.ifft2(moved).real.numpy(), np.roll(image, (2, -5), axis=(0, 1)), atol=1e-4)


def test_reduced_frames_are_corrected_sums_of_blocks() -> None:
    rng = np.random.default_rng(3)
    frames, gain = (
        rng.poisson(3.0, (2, 282, 202)).astype(np.uint8),
        rng.uniform(0.9, 1.1, (282, 202)).astype(np.float32),
    )
    found = reduce_frames([torch.from_numpy(frame) for frame in frames], torch.from_numpy(gain), 4).numpy()
    blocks = (frames * gain)[:, :280, :200].reshape(2, 70, 4, 50, 4).sum(axis=(2, 4))
    assert np.allclose(found, blocks - blocks.mean(axis=(1, 2), keepdims=True), atol=1e-3)
    frames[0, 5, 5] = 255
    clipped = reduce_frames([torch.from_numpy(frame) for frame in frames], None, 4)[0]
    assert float(clipped.max()) < 6.5 * float(clipped.std())


@pytest.mark.parametrize(
    ("bfactor", "side", "factor"), [(600.0, 4096, 4), (600.0, 1024, 4), (20.0, 1024, 1), (600.0, 11520, 6)]
)
def test_binning_keeps_what_the_weight_leaves(bfactor: float, side: int, factor: int) -> None:
    assert binning(bfactor, side, side) == factor
    edge = 0.5 / (factor + 1)
    assert side > 2048 or np.exp(-0.5 * bfactor * edge**2) > 0.01
