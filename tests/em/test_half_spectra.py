"""Half maps measured plane by plane, against the same taken from whole transforms."""

from __future__ import annotations

import numpy as np
import pytest

from cryorepro.em.errors import InputError
from cryorepro.em.fsc import fsc_curve, masked_fsc
from cryorepro.em.half_spectra import HalfSpectra, masked_fsc_curve
from cryorepro.em.maskcreate import spherical_mask
from cryorepro.em.random_phases import randomise_from
from cryorepro.em.shell_sums import amplitude_sums, multiply_by_square
from cryorepro.em.transforms import backward, forward
from tests.em.halves import half_maps

PRECISIONS = pytest.mark.parametrize(("dtype", "close"), [(np.float32, 2e-6), (np.float64, 1e-12)])


def halves(dtype: type[np.floating], box: int = 48) -> list[np.ndarray]:
    cut = slice(0, box)
    return [half[cut, cut, cut].astype(dtype) for half in half_maps()]


def off_centre(box: int, dtype: type[np.floating]) -> np.ndarray:
    """A mask that leaves planes, rows and columns empty, on one side more than on the other."""
    return np.roll(spherical_mask(box, 0.2 * box, 4.0), (3, -4, 2), axis=(0, 1, 2)).astype(dtype)


@PRECISIONS
@pytest.mark.parametrize("box", [30, 48])
def test_curves_are_those_of_whole_transforms(dtype: type[np.floating], close: float, box: int) -> None:
    first, second = halves(dtype, box)
    mask = off_centre(box, dtype)
    spectra = HalfSpectra(first, second)
    np.testing.assert_allclose(spectra.fsc, fsc_curve(first, second), atol=close)
    np.testing.assert_allclose(
        masked_fsc_curve(first, second, mask), fsc_curve(first * mask, second * mask), atol=close
    )
    amplitudes = amplitude_sums(forward(0.5 * (first + second)))
    np.testing.assert_allclose(spectra.mean_amplitudes, amplitudes, atol=close * amplitudes.max())


@PRECISIONS
def test_the_filtered_mean_is_that_of_the_whole_transform(dtype: type[np.floating], close: float) -> None:
    first, second = halves(dtype)
    factors = np.exp(-np.arange(24**2 + 1) / 200.0)
    spectrum = forward(0.5 * (first + second))
    multiply_by_square(spectrum, factors)
    expected = backward(spectrum)
    found = HalfSpectra(first, second).filtered_mean(factors)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=10 * close * np.abs(expected).max())


def test_phases_are_random_from_the_shell_asked_for_and_maps_masked_after_that() -> None:
    """The planes of y and of z are turned in the same way: transposed maps get the curve of whole transforms."""
    first, second = halves(np.float64)
    mask = off_centre(48, np.float64)
    found = HalfSpectra(first, second).randomised_masked_fsc(mask, 6, np.random.default_rng(3))
    generator, drawn = np.random.default_rng(3), []
    for half in (first, second):
        spectrum = forward(np.ascontiguousarray(half.transpose(1, 0, 2)))
        randomise_from(spectrum, 6, generator)
        drawn.append(backward(spectrum).transpose(1, 0, 2) * mask)
    np.testing.assert_allclose(found, fsc_curve(*drawn), atol=1e-9)


def test_a_mask_of_nothing_is_refused() -> None:
    first, second = halves(np.float32)
    with pytest.raises(InputError, match="0 everywhere"):
        masked_fsc(first, second, np.zeros_like(first), np.random.default_rng(1))
