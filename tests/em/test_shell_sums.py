"""Transforms, their sums over shells and random phases, against numpy's plain double-precision transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from cryorepro.em import transforms
from cryorepro.em.random_phases import randomise_from
from cryorepro.em.shell_sums import (
    amplitude_sums,
    by_shell,
    multiply_by_square,
    product_sums,
    shell_of_squares,
    square_counts,
)
from cryorepro.em.transforms import backward, forward, forward_within, quick_even_size


def pair(box: int, dtype: type[np.floating]) -> list[np.ndarray]:
    generator = np.random.default_rng(box)
    return [generator.normal(3.0, 1.0, (box,) * 3).astype(dtype) for _ in range(2)]


def squares(box: int) -> np.ndarray:
    full = np.fft.fftfreq(box, 1.0 / box)
    squared = full[:, None, None] ** 2 + full[None, :, None] ** 2 + np.arange(box // 2 + 1.0) ** 2
    return np.asarray(squared, dtype=np.int64)


@pytest.fixture(params=["compiled part", "scipy.fft"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "scipy.fft":
        monkeypatch.setattr(transforms, "_pocketfft", lambda: None)
    else:
        assert transforms._pocketfft() is not None, "this scipy keeps its compiled transforms elsewhere"


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("box", [8, 30])
def test_transforms_are_those_of_scipy_in_the_maps_precision(dtype: type[np.floating], close: float, box: int) -> None:
    volume = pair(box, dtype)[0]
    spectrum = forward(volume)
    expected = fft.rfftn(volume.astype(np.float64))
    assert spectrum.dtype == np.result_type(dtype, np.complex64)
    assert np.abs(spectrum - expected).max() < close * np.abs(expected).max()
    again = backward(spectrum)
    assert again.dtype == dtype
    np.testing.assert_allclose(again, volume, atol=10 * close)


@pytest.mark.usefixtures("_either_way")
def test_the_transform_of_a_block_is_that_of_the_padded_cube() -> None:
    block = pair(8, np.float32)[0][:7, :7, :7]
    padded = np.zeros((12, 12, 12))
    padded[:7, :7, :7] = block
    np.testing.assert_allclose(forward_within(block, 12), fft.rfftn(padded), atol=1e-3)
    assert [quick_even_size(size) for size in (13, 24, 79, 94)] == [14, 24, 80, 96]


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("box", [8, 30, 32])
def test_sums_over_squares_are_the_plain_sums(dtype: type[np.floating], close: float, box: int) -> None:
    first, second = (forward(volume) for volume in pair(box, dtype))
    where = squares(box).reshape(-1)
    expected = {
        "product": np.bincount(where, weights=(first.astype(complex) * second.conj()).real.reshape(-1)),
        "amplitude": np.bincount(where, weights=np.abs(first.astype(complex)).reshape(-1)),
    }
    found = {"product": product_sums(first, second), "amplitude": amplitude_sums(first)}
    for name, sums in found.items():
        plain = expected[name][: len(sums)]
        assert np.abs(sums - plain).max() < close * np.abs(plain).max(), name
    np.testing.assert_array_equal(square_counts(box), np.bincount(where)[: len(square_counts(box))])


def test_a_shell_holds_what_rounds_to_it() -> None:
    box = 22
    nearest = np.rint(np.sqrt(squares(box))).astype(int).reshape(-1)
    np.testing.assert_array_equal(by_shell(square_counts(box), box), np.bincount(nearest)[: box // 2 + 1])
    assert shell_of_squares(box).max() == box // 2


@pytest.mark.parametrize("box", [8, 30])
def test_factors_of_squares_reach_every_coefficient(box: int) -> None:
    spectrum = forward(pair(box, np.float64)[0])
    factors = np.random.default_rng(1).random((box // 2) ** 2 + 1)
    table = np.zeros(squares(box).max() + 1)
    table[: len(factors)] = factors
    expected = spectrum * table[squares(box)]
    multiply_by_square(spectrum, factors)
    np.testing.assert_array_equal(spectrum, expected)


def test_random_phases_are_uniform_and_those_of_a_real_map() -> None:
    box, start = 24, 5
    volume = pair(box, np.float64)[0]
    before = forward(volume)
    after = before.copy()
    randomise_from(after, start, np.random.default_rng(2))
    inside = squares(box) < start**2
    np.testing.assert_array_equal(after[inside], before[inside])
    np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=1e-6)
    # a transform that no real map has would lose its excess on the way back
    np.testing.assert_allclose(forward(backward(after.copy())), after, atol=1e-6 * np.abs(before).max())
    turned = np.angle(after / before)[~inside]
    counts = np.histogram(turned, bins=8, range=(-np.pi, np.pi))[0]
    assert abs(np.exp(1j * turned).mean()) < 0.04 and counts.min() > 0.85 * counts.mean()
