"""The procedural ribosome: closed forms against sums in real space, and conformers that differ enough."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryorepro.em.blobs import BlobModel, euler_matrices
from cryorepro.em.phantom import CONFORMERS, ribosome

BOX, PIXEL = 56, 3.0


def one_blob(centre: tuple[float, float, float], sigma: float = 9.0, mass: float = 2.5) -> BlobModel:
    return BlobModel(np.array([centre]), np.array([sigma]), np.array([mass]))


def sampled_gaussian(centre: tuple[float, ...], sigma: float, mass: float) -> np.ndarray:
    """The blob in real space, per pixel: three pixels of sigma leave nothing beyond Nyquist or the box."""
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    lines = [np.exp(-((axis - c) ** 2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma) * PIXEL for c in centre]
    out = mass * lines[-1]
    for line in lines[-2::-1]:
        out = np.multiply.outer(out, line)
    return out  # the last centre runs along the first axis: zyx


def test_a_volume_is_the_gaussian_in_real_space() -> None:
    centre = (5.0, -8.0, 11.0)
    np.testing.assert_allclose(one_blob(centre).volume(BOX, PIXEL), sampled_gaussian(centre, 9.0, 2.5), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.floats(-180, 180), st.floats(0, 180), st.floats(-180, 180)))
def test_a_projection_is_the_gaussian_where_the_rotation_puts_it(angles: tuple[float, float, float]) -> None:
    centre = np.array([5.0, -8.0, 11.0])
    # Intrinsic rotations of the frame by rot, tilt, psi; seen from the frame, vectors turn the other way.
    turned = Rotation.from_euler("ZYZ", angles, degrees=True).inv().apply(centre)
    matrices = euler_matrices(np.array([angles]))
    image = np.fft.irfft2(one_blob(tuple(centre)).project(matrices, BOX, PIXEL)[0], s=(BOX, BOX))
    np.testing.assert_allclose(image, sampled_gaussian((turned[0], turned[1]), 9.0, 2.5), atol=1e-9)


def test_projection_and_volume_obey_the_central_slice_theorem() -> None:
    model = ribosome(3)[0]
    image = np.fft.irfft2(model.project(np.eye(3)[None], 64, 7.54)[0], s=(64, 64))
    np.testing.assert_allclose(model.volume(64, 7.54).sum(axis=0), image, atol=1e-12 * model.masses.sum())
    assert image.sum() == pytest.approx(model.masses.sum(), rel=1e-12)


def test_the_low_pass_removes_what_lies_beyond_it() -> None:
    volume = ribosome(3)[0].volume(64, 7.54, low_pass_angstrom=40.0)
    frequency = np.fft.fftfreq(64, 7.54)
    radius = np.sqrt(frequency[:, None, None] ** 2 + frequency[:, None] ** 2 + frequency**2)
    power = np.abs(np.fft.fftn(volume)) ** 2
    assert power[radius > 1 / 36].max() < 1e-20 * power.max()
    full = np.abs(np.fft.fftn(ribosome(3)[0].volume(64, 7.54))) ** 2
    inside = radius < 1 / 45
    np.testing.assert_allclose(power[inside], full[inside], rtol=1e-6, atol=1e-12 * power.max())


def test_the_particle_fits_its_diameter_and_is_deterministic() -> None:
    models = ribosome(7)
    again = ribosome(7)
    assert len(models) == len(CONFORMERS) == 3
    for model, same in zip(models, again, strict=True):
        radii = np.linalg.norm(model.centres_angstrom, axis=1)
        assert radii.max() + 7.0 < 180.0 and len(model.masses) > 400
        np.testing.assert_array_equal(model.centres_angstrom, same.centres_angstrom)
    assert not np.array_equal(models[0].centres_angstrom, ribosome(8)[0].centres_angstrom)
    centre = np.average(models[0].centres_angstrom, axis=0, weights=models[0].masses)
    np.testing.assert_allclose(centre, 0.0, atol=1e-9)


def test_conformers_share_the_large_subunit_and_differ_between_15_and_25_angstrom() -> None:
    models = ribosome(1)
    large = len(models[1].masses)
    for model in models:
        np.testing.assert_array_equal(model.centres_angstrom[:large], models[1].centres_angstrom)
    assert models[1].masses.sum() < 0.75 * models[0].masses.sum()
    assert models[2].masses.sum() > 1.01 * models[0].masses.sum()  # the factor
    transforms = [np.fft.fftn(model.volume(64, 7.54)) for model in models]
    k = np.fft.fftfreq(64, 7.54)
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    shell = (radius > 1 / 25) & (radius < 1 / 15)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        a, b = transforms[i][shell], transforms[j][shell]
        correlation = (a * b.conj()).sum().real / np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())
        assert correlation < 0.87, (i, j, correlation)
