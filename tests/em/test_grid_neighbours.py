"""Sharing with neighbours against another library's convolution, and what it does for a sparsely filled grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from cryorepro.em import grid_neighbours
from cryorepro.em.blobs import BlobModel
from cryorepro.em.fourier import half_plane, image_coefficients
from cryorepro.em.fsc import fsc_curve
from cryorepro.em.grid_neighbours import SHARE, neighbour_attenuation, shared_with_neighbours
from cryorepro.em.masks import soft_sphere
from cryorepro.em.reconstruction import SliceAccumulator, hermitian, reconstruct
from cryorepro.em.rotations import random_rotations

BOX, PIXEL = 32, 6.0


def test_the_kernel_is_that_of_a_separable_convolution_of_the_whole_grid() -> None:
    radius, generator = 6, np.random.default_rng(3)
    side = 2 * radius + 1
    whole = generator.normal(size=(3, side, side, side))
    signs = np.array([1.0, -1.0, 1.0])[:, None, None, None]
    whole = 0.5 * (whole + signs * whole[:, ::-1, ::-1, ::-1])
    expected = whole
    for axis in (1, 2, 3):
        expected = ndimage.convolve1d(expected, [SHARE, 1.0 - 2.0 * SHARE, SHARE], axis=axis, mode="constant")
    for part, sign, wanted in zip(whole, (1.0, -1.0, 1.0), expected, strict=True):
        got = shared_with_neighbours(torch.from_numpy(part[..., radius:].copy()), sign)
        np.testing.assert_allclose(got.numpy(), wanted[..., radius:], atol=1e-12)


def test_what_is_divided_out_is_the_kernels_transform() -> None:
    impulse = np.zeros(2 * BOX)
    impulse[[0, 1, -1]] = [1.0 - 2.0 * SHARE, SHARE, SHARE]
    transform = np.fft.fftshift(np.fft.fft(impulse).real)[BOX // 2 : BOX // 2 + BOX]
    got = neighbour_attenuation(BOX, 2, torch.float64, torch.device("cpu")).numpy()
    np.testing.assert_allclose(got, np.einsum("i,j,k->ijk", transform, transform, transform), atol=1e-12)


def _noisy_half(model: BlobModel, count: int, seed: int) -> torch.Tensor:
    """Sums of noisy views, each with a contrast transfer of its own: most weights are uneven because of its zeros."""
    plane, generator = half_plane(BOX, 15), np.random.default_rng(seed)
    views = random_rotations(count, torch.Generator().manual_seed(seed))
    images = np.fft.irfft2(model.project(views.numpy(), BOX, PIXEL), s=(BOX, BOX))
    exact = image_coefficients(torch.from_numpy(images), plane)
    phase = torch.outer(torch.from_numpy(generator.uniform(8.0, 16.0, count)), (plane.kx**2 + plane.ky**2) / 15.0**2)
    transfer = torch.sin(phase)
    noise = torch.from_numpy(generator.normal(scale=2.0 * images.std(), size=images.shape))
    seen = exact * transfer + image_coefficients(noise, plane)
    sums = SliceAccumulator(15)
    sums.insert((seen * transfer).to(torch.complex64), transfer.square().float(), views, plane)
    return hermitian(sums.data.reshape(3, *sums.shape))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_maps_of_few_particles_agree_better_with_each_other_and_with_the_truth(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = np.random.default_rng(seed)
    model = BlobModel(stream.normal(0.0, 20.0, (60, 3)).clip(-45, 45), np.full(60, 5.0), stream.uniform(0.5, 1.5, 60))
    truth, mask = model.volume(BOX, PIXEL), soft_sphere(BOX, 11.0).numpy()
    halves = [_noisy_half(model, 60, 10 * seed + k) for k in (1, 2)]
    flat = torch.full((BOX // 2 + 1,), 1e9)
    found = {}
    for share in (0.0, SHARE):
        monkeypatch.setattr(grid_neighbours, "SHARE", share)
        first, second = (reconstruct(half, BOX, 15, flat, 1.0).volume.double().numpy() * mask for half in halves)
        curves = fsc_curve(first, second), fsc_curve(0.5 * (first + second), truth * mask)
        found[share] = [float(curve[6:15].mean()) for curve in curves]
    assert found[SHARE][0] > found[0.0][0] + 0.02
    assert found[SHARE][1] > found[0.0][1] + 0.02
