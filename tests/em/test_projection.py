"""Slices against exact transforms of Gaussian blobs; maps back from slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryorepro.em import fourier
from cryorepro.em.blobs import BlobModel
from cryorepro.em.fsc import fsc_curve
from cryorepro.em.projection import Projector
from cryorepro.em.reconstruction import (
    SliceAccumulator,
    hermitian,
    reconstruct,
    reference_power,
    shell_noise,
    symmetrise,
)
from cryorepro.em.rotations import random_rotations
from cryorepro.em.symmetry import symmetry_matrices

BOX, PIXEL = 48, 6.0


def _blobs(count: int = 60, spread: float = 45.0) -> BlobModel:
    stream = np.random.default_rng(2)
    centres = stream.normal(0.0, spread / 2, (count, 3)).clip(-spread, spread)
    return BlobModel(centres, np.full(count, 7.0), stream.uniform(0.5, 1.5, count))


def _exact(model: BlobModel, matrices: torch.Tensor, plane: fourier.HalfPlane) -> torch.Tensor:
    images = np.fft.irfft2(model.project(matrices.numpy(), BOX, PIXEL), s=(BOX, BOX))
    return fourier.image_coefficients(torch.from_numpy(images), plane)


def _energy_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().square().sum() / expected.abs().square().sum())


def test_slices_match_exact_projections() -> None:
    model, plane = _blobs(), fourier.half_plane(BOX, 22)
    views = random_rotations(30, torch.Generator().manual_seed(4))
    projector = Projector(torch.from_numpy(model.volume(BOX, PIXEL)).float(), 22)
    padded = _energy_error(projector.slices(views, plane), _exact(model, views, plane))
    unpadded = Projector(torch.from_numpy(model.volume(BOX, PIXEL)).float(), 22, padding=1)
    plain = _energy_error(unpadded.slices(views, plane), _exact(model, views, plane))
    assert padded < 2e-5 and plain > 10 * padded


def test_identity_slice_is_the_sum_along_z() -> None:
    volume = torch.from_numpy(_blobs().volume(BOX, PIXEL))
    plane = fourier.half_plane(BOX, 20)
    projector = Projector(volume, 20)
    expected = fourier.image_coefficients(volume.sum(dim=0)[None], plane)
    got = projector.slices(torch.eye(3, dtype=torch.float64)[None], plane)
    # such points lie on the grid and are not damped, while the volume is corrected for the mean damping
    assert _energy_error(got, expected) < 2e-4


def test_turning_in_plane_by_180_conjugates() -> None:
    projector, plane = (
        Projector(torch.from_numpy(_blobs().volume(BOX, PIXEL)), 20),
        fourier.half_plane(BOX, 20),
    )
    views = random_rotations(5, torch.Generator().manual_seed(1))
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(projector.slices(turn @ views, plane), projector.slices(views, plane).conj())


def _inserted(model: BlobModel, views: torch.Tensor, plane: fourier.HalfPlane, reach: int) -> torch.Tensor:
    accumulator = SliceAccumulator(reach)
    exact = _exact(model, views, plane).to(torch.complex64)
    accumulator.insert(exact, torch.ones(exact.shape), views, plane)
    return accumulator.data.reshape(3, *accumulator.shape)


def test_map_comes_back_from_its_projections() -> None:
    model, reach = _blobs(), 20
    views = random_rotations(3000, torch.Generator().manual_seed(8))
    data = hermitian(_inserted(model, views, fourier.half_plane(BOX, reach), reach))
    flat = torch.full((BOX // 2 + 1,), 1e6)
    result = reconstruct(data, BOX, reach, flat, 1.0)
    truth = model.volume(BOX, PIXEL)
    curve = fsc_curve(result.volume.numpy(), truth)
    assert curve[1:19].min() > 0.995
    # amplitudes as well: the scale of the map is the scale of its projections
    low = slice(8, 40)
    ratio = float((result.volume.numpy() * truth)[low, low, low].sum() / (truth**2)[low, low, low].sum())
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_noise_level_is_one_over_the_information_per_coefficient() -> None:
    model, reach, count = _blobs(), 16, 2000
    views = random_rotations(count, torch.Generator().manual_seed(9))
    plane = fourier.half_plane(BOX, reach)
    data = hermitian(_inserted(model, views, plane, reach))
    sigma2 = shell_noise(data[2], BOX, reach)
    # a slice puts 2 pi s coefficients of weight 1 on a shell of 4 pi s^2: count / (2 s) each
    shells = torch.arange(6, 14)
    torch.testing.assert_close(sigma2[shells], 2.0 * shells.double() / count, rtol=0.06, atol=0.0)


def test_prior_damps_by_the_wiener_factor() -> None:
    model, reach, count = _blobs(), 16, 2000
    views = random_rotations(count, torch.Generator().manual_seed(9))
    data = hermitian(_inserted(model, views, fourier.half_plane(BOX, reach), reach))
    sigma2 = shell_noise(data[2], BOX, reach)
    free = reconstruct(data, BOX, reach, torch.full((BOX // 2 + 1,), 1e9), 1.0)
    damped = reconstruct(data, BOX, reach, sigma2 / 4.0, 4.0)  # T tau2 = sigma2: a factor of one half
    torch.testing.assert_close(damped.data_vs_prior[6:14], torch.ones(8, dtype=torch.float64))
    ratio = np.fft.fftn(damped.volume.numpy()) / np.fft.fftn(free.volume.numpy())
    axis = np.fft.fftfreq(BOX, 1 / BOX)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2)
    for shell in (7, 10, 13):
        assert np.median(ratio.real[np.rint(radius) == shell]) == pytest.approx(0.5, abs=0.05)
    assert np.median(ratio.real[np.rint(radius) == 3]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("group", ["D7", "O"])
def test_symmetrised_sums_equal_inserting_every_equivalent_view(group: str) -> None:
    model, reach = _blobs(), 12
    symmetry = torch.from_numpy(symmetry_matrices(group))
    views = random_rotations(150, torch.Generator().manual_seed(2))
    plane = fourier.half_plane(BOX, reach)
    exact = _exact(model, views, plane).to(torch.complex64)
    every = SliceAccumulator(reach)
    for operator in symmetry:
        every.insert(exact, torch.ones(exact.shape), views @ operator, plane)
    direct = hermitian(every.data.reshape(3, *every.shape))
    summed = symmetrise(hermitian(_inserted(model, views, plane, reach)), symmetry)
    flat = torch.full((BOX // 2 + 1,), 1e6)
    first = reconstruct(direct, BOX, reach, flat, 1.0).volume.numpy()
    second = reconstruct(summed, BOX, reach, flat, 1.0).volume.numpy()
    assert fsc_curve(first, second)[1:11].min() > (0.9999 if group == "O" else 0.98)


def test_reference_power_is_the_spectrum_of_the_map_per_component() -> None:
    model, reach = _blobs(), 20
    volume = torch.from_numpy(model.volume(BOX, PIXEL))
    power = reference_power(Projector(volume, reach).grid, BOX, reach)
    transform = np.abs(np.fft.fftn(volume.numpy()) / BOX**3 * BOX) ** 2 / 2
    axis = np.fft.fftfreq(BOX, 1 / BOX)
    radius = np.rint(np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2))
    for shell in (4, 8, 15):
        assert power[shell].item() == pytest.approx(transform[radius == shell].mean(), rel=0.15)


def test_a_slice_has_the_same_bits_alone_and_among_others() -> None:
    generator = torch.Generator().manual_seed(4)
    projector, plane = Projector(torch.randn(24, 24, 24, generator=generator), 11), fourier.half_plane(24, 11)
    matrices = random_rotations(9, generator)
    together = projector.slices(matrices, plane)
    for size in (1, 2, 4):
        parts = [projector.slices(part, plane) for part in torch.split(matrices, size)]
        assert torch.equal(torch.cat(parts), together)
