"""Updates of the model's parameters on sums whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryorepro.em.expectation import Expectation
from cryorepro.em.fourier import shell_pixel_counts
from cryorepro.em.imageset import ArraySource, ImageSet, Poses
from cryorepro.em.masks import soft_circle
from cryorepro.em.maximisation import (
    resolved_shell,
    signal_scale,
    updated_directions,
    updated_noise,
    updated_offset_sigma_px,
    updated_scales,
)
from cryorepro.em.noise import initial_noise, positive_spectra
from tests.em.simulated import simulated_set

BOX = 16
SHELLS = BOX // 2 + 1


def _sums(**changes: object) -> Expectation:
    double = torch.float64
    sums = Expectation(
        poses=Poses.start(4),
        grids=[],
        direction_weight=torch.tensor([[1.0, 0.0], [2.0, 1.0]], dtype=double),
        noise=torch.ones(1, SHELLS, dtype=double),
        noise_count=torch.tensor([4.0], dtype=double),
        signal_product=torch.ones(3, SHELLS, dtype=double),
        reference_power=torch.ones(3, SHELLS, dtype=double),
        offset_power=8.0,
    )
    return replace(sums, **changes)  # type: ignore[arg-type]


def test_noise_is_the_mean_power_per_component() -> None:
    counts = shell_pixel_counts(BOX).double()
    sums = _sums(noise=(2.0 * 0.3 * 4.0 * counts)[None])
    torch.testing.assert_close(
        updated_noise(sums, torch.ones(1, SHELLS).double(), BOX), torch.full((1, SHELLS), 0.3).double()
    )


def test_a_group_without_particles_keeps_its_noise() -> None:
    sums = _sums(noise=torch.ones(2, SHELLS).double(), noise_count=torch.tensor([4.0, 0.0]).double())
    previous = torch.full((2, SHELLS), 0.7).double()
    torch.testing.assert_close(updated_noise(sums, previous, BOX)[1], previous[1])


def test_directions_sum_to_one_and_exclude_nothing() -> None:
    prior = updated_directions(_sums())
    assert float(prior.sum()) == pytest.approx(1.0)
    assert prior[0, 1] > 0.0
    torch.testing.assert_close(prior.sum(dim=1), torch.tensor([0.25, 0.75]).double(), atol=1e-12, rtol=0)


def test_offset_deviation_is_per_axis() -> None:
    assert updated_offset_sigma_px(_sums()) == pytest.approx(1.0)  # 8 px^2 over 4 particles and 2 axes


def test_scales_average_to_one_and_outliers_are_held() -> None:
    product = torch.ones(3, SHELLS).double() * torch.tensor([1.0, 1.2, 100.0]).double()[:, None]
    members = torch.tensor([10.0, 10.0, 1.0]).double()
    loud = torch.full((2, SHELLS), 10.0).double()
    scale = updated_scales(_sums(signal_product=product), loud, members, torch.ones(3).double())
    assert float((scale * members).sum() / members.sum()) == pytest.approx(1.0)
    assert float(scale[1] / scale[0]) == pytest.approx(1.2)
    assert float(scale[2] / scale[1]) == pytest.approx(5.0)
    quiet = torch.full((2, SHELLS), 2.0).double()
    assert torch.equal(
        updated_scales(_sums(), quiet, members, torch.full((3,), 0.9).double()), torch.full((3,), 0.9).double()
    )


def test_signal_scale_is_the_least_squares_factor() -> None:
    assert signal_scale(_sums(signal_product=torch.full((3, SHELLS), 0.25).double()), 5) == pytest.approx(0.25)
    assert signal_scale(_sums(signal_product=torch.full((3, SHELLS), -1.0).double()), 5) == 1.0


def test_resolution_is_the_shell_before_the_first_that_noise_dominates() -> None:
    ratio = torch.tensor([[9.0, 5.0, 3.0, 1.5, 0.9, 2.0, 0.1, 0.0, 0.0], [9.0, 0.5, 9, 9, 9, 9, 9, 9, 9]]).double()
    assert resolved_shell(ratio, 0) == 3
    assert resolved_shell(ratio, 5) == 5
    assert resolved_shell(torch.full((1, 9), 2.0).double(), 0) == 7


def test_initial_noise_of_pure_noise_is_its_spectrum() -> None:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(600, BOX, BOX, generator=generator).numpy()
    base = simulated_set(1, box_px=BOX, pixel_size_angstrom=30.0).image_set(1)
    zeros = torch.zeros(600, dtype=torch.int64)
    images = ImageSet(ArraySource(pixels), BOX, 30.0, base.ctf, zeros, zeros)
    noise = initial_noise(images, Poses.start(600), torch.ones(BOX, BOX), workers=1)
    # white noise of variance 1: |F|^2 = 1 / n^2, half of it per component
    np.testing.assert_allclose(noise[0, 1:].numpy(), 0.5 / BOX**2, rtol=0.06)
    again = initial_noise(images, Poses.start(600), soft_circle(BOX, 4.0, 3.0), workers=2)
    assert float(again[0, 4:].mean() / noise[0, 4:].mean()) == pytest.approx(0.35, abs=0.1)


def test_spectra_are_made_positive_from_their_neighbours() -> None:
    spectra = torch.tensor([[-1.0, -2.0, 3.0, -0.1, 0.5]]).double()
    fixed = positive_spectra(spectra, torch.full((1, 5), 2.0).double())
    torch.testing.assert_close(fixed, torch.tensor([[2.0, 2.0, 3.0, 3.0, 0.5]]).double())
