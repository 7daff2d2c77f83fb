"""Local filters on maps whose right answer is known: detail here, noise there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from cryorepro.em.errors import InputError
from cryorepro.em.homogeneous.nonuniform import LocalFilter, butterworth, choose_filter
from cryorepro.em.homogeneous.nonuniform_bands import BandFilter, choose_bands
from cryorepro.em.homogeneous.options import LocalFilterOptions
from cryorepro.em.lowpass import fourier_radius, multiply_fourier

CHOOSE: dict[str, Callable[[np.ndarray, np.ndarray, LocalFilterOptions], LocalFilter | BandFilter]] = {
    "lowpass": choose_filter,
    "bands": choose_bands,
}

BOX = 48
Floats = np.ndarray
X = np.arange(BOX)[None, None] - BOX // 2


def _detail() -> Floats:
    """Fine detail in the half x < 0, nothing finer than a slow wave in the other."""
    fine = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((BOX,) * 3), 1.2)
    slow = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((BOX,) * 3), 6.0)
    left = 1.0 / (1.0 + np.exp(X / 1.5))
    return np.asarray(fine / fine.std() * left + slow / slow.std())


def _halves(noise: float = 1.0) -> tuple[Floats, Floats, Floats]:
    truth = _detail()
    first, second = (truth + noise * np.random.default_rng(s).standard_normal(truth.shape) for s in (5, 6))
    return truth, first, second


def _error(found: Floats, truth: Floats) -> float:
    return float(((found - truth) ** 2).mean())


@pytest.mark.parametrize("family", ["lowpass", "bands"])
def test_each_region_gets_the_low_pass_it_needs(family: str) -> None:
    _, first, second = _halves()
    cutoff = CHOOSE[family](first, second, LocalFilterOptions()).cutoff_shells()
    inner = slice(8, -8)
    assert cutoff[inner, inner, 6:16].mean() > 1.4 * cutoff[inner, inner, 32:42].mean()


@pytest.mark.parametrize("family", ["lowpass", "bands"])
def test_local_filters_are_nearer_to_the_truth_than_the_best_uniform_low_pass(family: str) -> None:
    truth, first, second = _halves()
    options = LocalFilterOptions()
    chosen = CHOOSE[family](first, second, options)
    radius = fourier_radius(BOX)
    uniform = min(
        _error(multiply_fourier(first, butterworth(radius, cutoff, options.order)), truth) for cutoff in chosen.cutoffs
    )
    assert _error(chosen.apply(first), truth) < 0.9 * uniform


@pytest.mark.parametrize("family", ["lowpass", "bands"])
def test_the_filter_is_applied_to_each_half_alone(family: str) -> None:
    """Linear in the map it is given: nothing of the other half comes with it."""
    _, first, second = _halves()
    chosen = CHOOSE[family](first, second, LocalFilterOptions(filters=8))
    np.testing.assert_allclose(chosen.apply(first + second), chosen.apply(first) + chosen.apply(second), atol=1e-9)


def test_halves_of_noise_alone_are_low_passed_at_the_coarsest() -> None:
    first, second = (np.random.default_rng(s).standard_normal((BOX,) * 3) for s in (7, 8))
    assert np.median(choose_filter(first, second, LocalFilterOptions()).cutoff_shells()) <= 3.0


def test_halves_may_be_swapped() -> None:
    _, first, second = _halves()
    options = LocalFilterOptions(filters=8)
    np.testing.assert_array_equal(
        choose_filter(first, second, options).choice, choose_filter(second, first, options).choice
    )


def test_a_choice_between_two_places_mixes_both() -> None:
    truth = _detail()
    cutoffs = np.array([4.0, 12.0])
    ends = [LocalFilter(cutoffs, np.full(truth.shape, place), 8.0).apply(truth) for place in (0.0, 1.0)]
    mixed = LocalFilter(cutoffs, np.full(truth.shape, 0.25), 8.0).apply(truth)
    np.testing.assert_allclose(mixed, 0.75 * ends[0] + 0.25 * ends[1], atol=1e-12)


def test_gains_over_the_whole_box_are_the_correlation_of_the_bands() -> None:
    """With a neighbourhood as large as the box non-uniform is uniform: every voxel has the bands' own FSC."""
    _, first, second = _halves()
    chosen = choose_bands(first, second, LocalFilterOptions(window_factor=1e3, filters=6))
    radius, before = fourier_radius(BOX), np.zeros((BOX, BOX, BOX // 2 + 1))
    least = 1.0
    for gain, cutoff in zip(chosen.gains, chosen.cutoffs, strict=True):
        passed = np.ones_like(radius) if cutoff == chosen.cutoffs[-1] else butterworth(radius, cutoff, 8.0)
        a, b = (multiply_fourier(half, passed - before) for half in (first, second))
        least = min(least, max(0.0, 2.0 * (a * b).sum() / (a**2 + b**2).sum()))
        assert gain[BOX // 2, BOX // 2, BOX // 2] == pytest.approx(least, abs=0.02)
        before = passed


def test_a_gain_of_one_everywhere_changes_nothing() -> None:
    truth = _detail()
    same = choose_bands(truth, truth, LocalFilterOptions(filters=6))
    np.testing.assert_allclose(same.apply(truth), truth, atol=1e-6)


def test_halves_of_two_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="do not belong together"):
        choose_filter(np.zeros((16,) * 3), np.zeros((18,) * 3), LocalFilterOptions())
