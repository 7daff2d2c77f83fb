"""B-factor and ResLog series: lines of known slope come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryorepro.em.errors import InputError
from cryorepro.em.reslog import Point, fit_series, subset_sizes


@given(st.floats(20.0, 400.0), st.floats(3.0, 12.0))
def test_the_bfactor_of_exact_points_comes_back(bfactor: float, finest: float) -> None:
    """ln N = B / (2 d^2) + c for every point: Rosenthal & Henderson's relation."""
    sizes = [1000, 2000, 4000, 8000]
    squares = [1.0 / finest**2 + 2.0 / bfactor * np.log(n / sizes[0]) for n in sizes]
    points = [Point(n, float(s**-0.5), 1) for n, s in zip(sizes, squares, strict=True)]
    found = fit_series(points)
    assert found.bfactor_angstrom2 == pytest.approx(bfactor, rel=1e-6)
    assert found.bfactor_error_angstrom2 < 1e-4 * bfactor


def test_reslog_is_the_line_of_one_over_d_and_log10_n() -> None:
    points = [Point(10**k, 1.0 / (0.02 * k + 0.05), k) for k in (2, 3, 4)]
    found = fit_series(points)
    assert found.reslog_slope_per_angstrom == pytest.approx(0.02)
    assert found.reslog_intercept_per_angstrom == pytest.approx(0.05)


def test_the_error_of_the_slope_is_scipys() -> None:
    from scipy.stats import linregress

    rng = np.random.default_rng(2)
    sizes = [500, 1000, 2000, 4000, 8000]
    points = [Point(n, float(9.0 - 0.6 * np.log2(n / 500) + rng.normal(0, 0.1)), 1) for n in sizes]
    line = linregress(np.log(sizes), [p.angstrom**-2 for p in points])
    found = fit_series(points)
    assert found.bfactor_angstrom2 == pytest.approx(2.0 / line.slope)
    assert found.bfactor_error_angstrom2 == pytest.approx(2.0 * line.stderr / line.slope**2)


def test_resolution_that_does_not_grow_has_no_finite_bfactor() -> None:
    assert fit_series([Point(n, 8.0, 5) for n in (100, 200, 400)]).bfactor_angstrom2 == float("inf")


def test_too_few_or_impossible_points_are_refused() -> None:
    with pytest.raises(InputError, match="three of different size"):
        fit_series([Point(100, 8.0, 1), Point(200, 7.0, 1)])
    with pytest.raises(InputError, match="no point"):
        fit_series([Point(n, float("inf"), 0) for n in (1, 2, 3)])
    with pytest.raises(InputError, match="no series"):
        subset_sizes(100, 200, 3)
    assert subset_sizes(1000, 125, 4) == [125, 250, 500, 1000]
