"""Fourier shell correlation against closed forms and a plain float64 loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import (
    corrected_curve,
    crossing,
    fsc_curve,
    masked_fsc,
    randomise_phases,
    shell_to_angstrom,
)
from cryorepro.em.lowpass import lowpass_map
from cryorepro.em.maskcreate import spherical_mask
from tests.em.halves import half_maps, phantom


def test_a_map_correlates_fully_with_itself_and_its_multiple() -> None:
    volume = phantom(24)
    np.testing.assert_allclose(fsc_curve(volume, 5.0 * volume), 1.0, atol=1e-9)
    np.testing.assert_allclose(fsc_curve(volume, -volume), -1.0, atol=1e-9)


def test_the_curve_equals_a_plain_sum_over_shells() -> None:
    first, second = (half[8:40, 8:40, 8:40].astype(np.float64) for half in half_maps())
    a, b = np.fft.fftn(first), np.fft.fftn(second)
    n = first.shape[0]
    sums = np.zeros((n // 2 + 1, 3))
    for z in range(n):
        for y in range(n):
            for x in range(n // 2 + 1):
                k = [z - n * (z > n // 2), y - n * (y > n // 2), x]
                shell = round(float(np.sqrt(np.dot(k, k))))
                if shell <= n // 2:
                    u, v = a[z, y, x], b[z, y, x]
                    sums[shell] += [(u * v.conjugate()).real, abs(u) ** 2, abs(v) ** 2]
    expected = sums[:, 0] / np.sqrt(sums[:, 1] * sums[:, 2])
    np.testing.assert_allclose(fsc_curve(first, second), expected, atol=1e-12)


def test_the_curve_of_signal_in_noise_has_its_expected_value() -> None:
    """With noise of equal power in both halves, FSC = SNR / (1 + SNR) shell by shell."""
    generator = np.random.default_rng(1)
    signal = generator.normal(size=(48, 48, 48))
    halves = [signal + 2.0 * generator.normal(size=signal.shape) for _ in range(2)]
    assert fsc_curve(*halves)[8:].mean() == pytest.approx(1 / 5, abs=0.01)


def test_crossings_are_the_last_shell_before_the_fall() -> None:
    found = crossing(np.array([1.0, 0.9, 0.6, 0.4, 0.1, 0.7]), 0.5)
    assert (found.shell, found.crossed) == (2, True)
    assert found.interpolated == pytest.approx(2.5)
    assert found.angstrom(64, 3.0) == pytest.approx(96.0)
    never = crossing(np.full(9, 0.8), 0.5)
    assert (never.shell, never.crossed) == (8, False)
    assert crossing(np.array([1.0, 0.2, 0.9]), 0.5).shell == 0
    assert shell_to_angstrom(0, 64, 3.0) == float("inf")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=40), st.floats(0.01, 0.99))
def test_no_shell_up_to_a_crossing_is_below_the_threshold(values: list[float], threshold: float) -> None:
    found = crossing(np.array(values), threshold)
    assert all(value >= threshold for value in values[1 : found.shell + 1])
    assert found.shell <= found.interpolated <= found.shell + 1
    if found.crossed:
        assert values[found.shell + 1] < threshold


def test_randomising_phases_keeps_amplitudes_and_the_inner_shells() -> None:
    volume = phantom(32)
    changed = randomise_phases(volume, 6, np.random.default_rng(0))
    before, after = np.fft.fftn(volume), np.fft.fftn(changed)
    np.testing.assert_allclose(np.abs(before), np.abs(after), atol=1e-9 * np.abs(before).max())
    curve = fsc_curve(volume, changed)
    np.testing.assert_allclose(curve[1:6], 1.0, atol=1e-9)
    assert np.abs(curve[8:]).max() < 0.25


def test_the_correction_is_the_published_formula_two_shells_out() -> None:
    masked, randomised = np.array([1.0, 0.9, 0.8, 0.7, 0.6]), np.array([1.0, 0.5, 0.5, 0.2, 0.2])
    np.testing.assert_allclose(corrected_curve(masked, randomised, 1), [1.0, 0.9, 0.8, 0.625, 0.5])


def test_a_tight_mask_on_noise_does_not_pass_for_resolution() -> None:
    """Low-passed signal plus noise, a narrow mask: the masked curve is inflated, the corrected one is not."""
    generator = np.random.default_rng(5)
    signal = lowpass_map(phantom(48), 24.0, 3.0)
    first, second = (signal + 0.5 * signal.std() * generator.normal(size=signal.shape) for _ in range(2))
    mask = spherical_mask(48, 3.0, 2.0)
    # such a mask leaves so few independent coefficients that one draw of phases moves the mean by 0.1
    draws = [masked_fsc(first, second, mask, np.random.default_rng(seed)) for seed in range(20)]
    beyond = slice(10, 24)
    corrected = np.mean([curves.corrected[beyond].mean() for curves in draws])
    assert draws[0].masked[beyond].mean() > corrected + 0.5
    assert abs(corrected) < 0.15


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (np.zeros((8, 8, 10)), np.zeros((8, 8, 8)), "cube"),
        (np.zeros((8, 8, 8)), np.zeros((10, 10, 10)), "no common Fourier shells"),
        (np.full((8, 8, 8), np.nan), np.zeros((8, 8, 8)), "NaN"),
    ],
)
def test_maps_that_do_not_belong_together_are_refused(first: np.ndarray, second: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        fsc_curve(first, second)


def test_a_lowpass_finer_than_nyquist_is_refused() -> None:
    with pytest.raises(InputError, match="Nyquist"):
        lowpass_map(phantom(24), 4.0, 3.0)
