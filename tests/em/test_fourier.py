"""Transforms, half plane, shells and masks against numpy's FFT and closed forms."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryorepro.em import fourier, masks


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def _centred_fft2(image: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
    return np.fft.fft2(np.fft.ifftshift(image)) / image.size


@pytest.mark.parametrize("box", [16, 18])
def test_image_coefficients_are_the_centred_fft(box: int) -> None:
    image = _noise(box, box)
    plane = fourier.half_plane(box, box // 2)
    expected = _centred_fft2(image.numpy())[plane.ky.numpy() % box, plane.kx.numpy()]
    np.testing.assert_allclose(fourier.image_coefficients(image[None], plane)[0].numpy(), expected, atol=1e-15)


def test_half_plane_holds_one_of_each_friedel_pair_and_coarse_sets_are_prefixes() -> None:
    plane = fourier.half_plane(32, 11)
    pixels = {(int(x), int(y)) for x, y in zip(plane.kx, plane.ky, strict=True)}
    mates = {(-x, -y) for x, y in pixels}
    every = {(x, y) for x in range(-11, 12) for y in range(-11, 12) if 0 < x * x + y * y <= 121}
    assert not pixels & mates and pixels | mates == every
    length = plane.coarse_length(6)
    radius = (plane.kx**2 + plane.ky**2).double().sqrt()
    assert radius[:length].max() <= 6 < radius[length:].min()


@settings(max_examples=25, deadline=None)
@given(st.integers(-7, 7), st.integers(-7, 7))
def test_phase_ramps_move_an_image_by_whole_pixels(x: int, y: int) -> None:
    image = _noise(1, 16, 16).float()
    plane = fourier.half_plane(16, 7)
    moved = torch.roll(image, (y, x), (1, 2))
    ramp = plane.phase_ramps(torch.tensor([[float(x), float(y)]]))
    expected = fourier.image_coefficients(moved, plane)
    torch.testing.assert_close(fourier.image_coefficients(image, plane) * ramp, expected, atol=1e-6, rtol=1e-4)


def test_shell_power_sums_what_the_half_plane_holds() -> None:
    images = _noise(3, 20, 20)
    power = fourier.image_shell_power(images)
    plane = fourier.half_plane(20, 10)
    mine = fourier.image_coefficients(images, plane).abs().square()
    expected = torch.zeros(3, 11, dtype=torch.float64).index_add_(1, plane.shell, mine)
    torch.testing.assert_close(power[:, 1:9], expected[:, 1:9])
    assert fourier.shell_pixel_counts(20)[1:9].tolist() == torch.bincount(plane.shell)[1:9].tolist()


def test_padded_grid_equals_the_padded_fft() -> None:
    box, padding, reach = 12, 2, 5
    volume = _noise(box, box, box)
    padded = np.zeros((2 * box,) * 3)
    start = box - box // 2
    padded[start : start + box, start : start + box, start : start + box] = volume.numpy()
    full = np.fft.fftn(np.fft.ifftshift(padded)) / box**3
    radius = fourier.grid_radius(reach, padding)
    axis = np.arange(-radius, radius + 1)
    expected = full[np.ix_(axis, axis, axis[radius:])]
    np.testing.assert_allclose(fourier.volume_to_grid(volume, reach).numpy(), expected, atol=1e-14)


def test_grid_round_trip_of_a_band_limited_volume() -> None:
    box = 20
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + (axis - 1.0)[None, None] ** 2
    volume = torch.exp(-squared / (2 * 1.8**2))
    back = fourier.grid_to_volume(fourier.volume_to_grid(volume, 9), box)
    torch.testing.assert_close(back, volume, atol=3e-6, rtol=0)


def test_soft_mask_profile() -> None:
    sphere = masks.soft_sphere(32, 8.0, 4.0)
    profile = sphere[16, 16, 16:]
    np.testing.assert_allclose(profile[:9], 1.0)
    assert profile[10].item() == pytest.approx(0.5)
    assert torch.all(profile[12:] == 0)
    torch.testing.assert_close(masks.soft_circle(32, 8.0, 4.0), sphere[16])


def test_masking_fills_with_the_mean_of_the_outside_or_with_noise() -> None:
    images = _noise(2, 24, 24).float() + 3.0
    mask = masks.soft_circle(24, 6.0, 3.0)
    out = masks.mask_images(images, mask)
    torch.testing.assert_close(out[:, 12, 12], images[:, 12, 12])
    corner = float((images[0] * (1 - mask)).sum() / (1 - mask).sum())
    assert out[0, 0, 0].item() == pytest.approx(corner, rel=1e-5)
    filled = masks.mask_images(images, mask, torch.zeros_like(images))
    assert torch.all(filled[:, 0, 0] == 0)
