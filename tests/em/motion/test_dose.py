"""Exposure weights: the paper's formula, its normalisation, and the few sums that carry them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.motion.dose import critical_exposure, exposure_weights, weight_basis


def test_the_formula_at_frequencies_of_the_paper() -> None:
    for k in (0.05, 0.1, 0.25, 1 / 3):
        expected = 0.24499 * k**-1.6649 + 2.8141
        assert critical_exposure(np.array([k]), 300.0)[0] == pytest.approx(expected, rel=1e-12)
    assert np.isinf(critical_exposure(np.array([0.0]), 300.0)[0])
    # at 200 kV damage is a quarter stronger per electron, the factor 0.8 in general use
    assert critical_exposure(np.array([0.2]), 200.0)[0] / critical_exposure(np.array([0.2]), 300.0)[0] == pytest.approx(
        0.8, abs=0.005
    )


@settings(max_examples=12, deadline=None)
@given(
    frames=st.integers(2, 70), dose=st.floats(0.05, 5.0), before=st.floats(0.0, 50.0),
    pixel=st.floats(0.3, 4.0), kv=st.sampled_from([100.0, 120.0, 200.0, 300.0]),
)  # fmt: skip
def test_weights_keep_the_noise_and_the_basis_keeps_the_weights(
    frames: int, dose: float, before: float, pixel: float, kv: float
) -> None:
    exposures = before + dose * np.arange(1.0, frames + 1)
    k = np.linspace(0.0, 0.5, 40) / pixel
    weights = exposure_weights(k, exposures, kv)
    assert np.allclose((weights**2).sum(axis=0), 1.0)
    assert np.all(np.diff(weights, axis=0) <= 1e-12)
    assert np.allclose(weights[:, 0], 1 / np.sqrt(frames))
    basis = weight_basis(exposures, kv, pixel)
    place = np.rint(k * pixel / basis.highest * (basis.curves.shape[1] - 1)).astype(int)
    assert np.abs(basis.frames.T @ basis.curves[:, place] - weights).max() < 0.005 / np.sqrt(frames)
    assert len(basis.curves) <= 10


def test_few_transforms_give_the_sum_of_all_weighted_frames() -> None:
    rng = np.random.default_rng(6)
    images, pixel, exposures = rng.normal(size=(24, 60, 80)), 1.1, 4.0 + 1.7 * np.arange(1.0, 25.0)
    fy, fx = np.fft.fftfreq(60)[:, None], np.fft.rfftfreq(80)[None]
    k = np.hypot(fx, fy) / pixel
    with np.errstate(divide="ignore"):
        critical = 0.24499 * k**-1.6649 + 2.8141
    weights = np.exp(-0.5 * exposures[:, None, None] / critical)
    expected = (weights * np.fft.rfft2(images)).sum(axis=0) / np.sqrt((weights**2).sum(axis=0))
    basis = weight_basis(exposures, 300.0, pixel)
    sums = np.einsum("sf,fyx->syx", basis.frames, images)
    found = basis.combine((torch.fft.rfft2(torch.from_numpy(each).float()) for each in sums), 60, 80).numpy()
    assert len(sums) < 8
    assert np.abs(found - expected).max() < 0.004 * np.abs(expected).max()
