"""Directional FSC and sampling of Fourier space against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryorepro.em.directional_fsc import directional_fsc, hemisphere
from cryorepro.em.errors import InputError
from cryorepro.em.fsc import crossing, fsc_curve
from cryorepro.em.orientation_sampling import view_sampling
from cryorepro.em.symmetry import symmetry_matrices
from tests.em.halves import BOX, half_maps

C1 = symmetry_matrices("C1")


def towards(directions: np.ndarray) -> np.ndarray:
    """Orientations ``[n, 3, 3]`` whose third row is each direction."""
    turns = [Rotation.align_vectors([[0.0, 0.0, 1.0]], [d])[0].as_matrix() for d in directions]
    return np.stack(turns)


def test_isotropic_halves_have_cones_alike() -> None:
    first, second = half_maps(noise=0.1)
    found = directional_fsc(first, second, count=40)
    whole = crossing(fsc_curve(first, second), 0.143).shell
    assert found.curves.shape == (40, BOX // 2 + 1)
    assert found.area_ratio > 0.7
    assert np.median(found.shells) == pytest.approx(whole, abs=2)


def test_a_missing_cone_about_z_is_found_along_z() -> None:
    first, second = half_maps(noise=0.05)
    rng = np.random.default_rng(5)
    freq = np.fft.fftfreq(BOX)
    kz, ky, kx = np.meshgrid(freq, freq, np.fft.rfftfreq(BOX), indexing="ij")
    radius = np.sqrt(kz**2 + ky**2 + kx**2)
    missing = np.abs(kz) > radius * np.cos(np.radians(30))
    halves = []
    for half in (first, second):
        spectrum = np.fft.rfftn(half)
        noise = np.fft.rfftn(rng.normal(0, half.std(), half.shape))
        halves.append(np.fft.irfftn(np.where(missing, noise, spectrum), s=half.shape, axes=(0, 1, 2)))
    found = directional_fsc(halves[0], halves[1], count=60)
    worst = found.directions[int(found.areas.argmin())]
    assert abs(worst[2]) > np.cos(np.radians(20))
    assert found.area_ratio < 0.3 < directional_fsc(first, second, count=60).area_ratio


def test_even_side_and_top_views_have_the_published_factors() -> None:
    even = view_sampling(towards(hemisphere(2000)), C1)
    assert even.compensation_factor == pytest.approx(1.0, abs=0.02)
    angle = np.linspace(0, np.pi, 1500, endpoint=False)
    side = view_sampling(towards(np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)), C1, band_degrees=2.0)
    # sampling 2 / (pi sin theta) at polar angle theta; the mean of its inverse is pi^2 / 8
    assert side.compensation_factor == pytest.approx(8.0 / np.pi**2, abs=0.02)
    top = view_sampling(towards(np.array([[0.0, 0.0, 1.0]] * 10)), C1)
    assert top.compensation_factor == 0.0
    assert top.unsampled_fraction == pytest.approx(1.0 - np.sin(np.radians(3.0)), abs=0.01)


def test_symmetry_fills_what_one_view_leaves() -> None:
    one = np.eye(3)[None]
    assert view_sampling(one, symmetry_matrices("I")).unsampled_fraction < view_sampling(one, C1).unsampled_fraction


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(InputError, match="views"):
        view_sampling(np.empty((0, 3, 3)), C1)
    with pytest.raises(InputError, match="cones"):
        directional_fsc(*half_maps(), half_angle_degrees=120.0)
