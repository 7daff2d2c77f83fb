"""Slices by cubic splines against exact transforms of Gaussian blobs, beside those by linear interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryorepro.em import fourier
from cryorepro.em.blobs import BlobModel
from cryorepro.em.homogeneous.cubic_projector import KERNELS, CubicProjector, spline_weights
from cryorepro.em.projection import Projector
from cryorepro.em.rotations import random_rotations

BOX, PIXEL, REACH = 48, 6.0, 22


def _blobs() -> BlobModel:
    stream = np.random.default_rng(2)
    centres = stream.normal(0.0, 30.0, (60, 3)).clip(-65.0, 65.0)
    return BlobModel(centres, np.full(60, 7.0), stream.uniform(0.5, 1.5, 60))


def _energy_error(projector: Projector, model: BlobModel, views: torch.Tensor) -> float:
    plane = fourier.half_plane(BOX, REACH)
    images = np.fft.irfft2(model.project(views.numpy(), BOX, PIXEL), s=(BOX, BOX))
    exact = fourier.image_coefficients(torch.from_numpy(images), plane)
    got = projector.slices(views, plane)
    return float((got - exact).abs().square().sum() / exact.abs().square().sum())


@pytest.mark.parametrize("padding", [1, 2])
def test_cubic_slices_are_nearer_to_the_closed_form_than_linear_ones(padding: int) -> None:
    model, views = _blobs(), random_rotations(20, torch.Generator().manual_seed(4))
    volume = torch.from_numpy(model.volume(BOX, PIXEL))
    linear, cubic = (_energy_error(kind(volume, REACH, padding), model, views) for kind in KERNELS.values())
    assert cubic < 0.1 * linear


def test_cubic_slices_without_padding_do_what_linear_ones_need_padding_for() -> None:
    model, views = _blobs(), random_rotations(20, torch.Generator().manual_seed(5))
    volume = torch.from_numpy(model.volume(BOX, PIXEL))
    assert _energy_error(CubicProjector(volume, REACH, 2), model, views) < 1e-6


def test_turning_in_plane_by_180_conjugates() -> None:
    plane = fourier.half_plane(BOX, REACH)
    projector = CubicProjector(torch.from_numpy(_blobs().volume(BOX, PIXEL)), REACH)
    views = random_rotations(5, torch.Generator().manual_seed(1))
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(projector.slices(turn @ views, plane), projector.slices(views, plane).conj())


def test_spline_weights_are_those_of_the_cubic_b_spline() -> None:
    position = torch.linspace(0.0, 0.999, 50, dtype=torch.float64)
    distance = torch.stack([position + 1.0, position, 1.0 - position, 2.0 - position])
    near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    expected = torch.where(distance < 1.0, near, (2.0 - distance) ** 3 / 6.0)
    torch.testing.assert_close(torch.stack(spline_weights(position)), expected)
