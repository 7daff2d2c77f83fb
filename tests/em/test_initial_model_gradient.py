"""The gradient of a map: against autograd in float64, and against finite differences of the likelihood itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from cryorepro.em.estep_model import EstepModel
from cryorepro.em.expectation import Expectation, expectation
from cryorepro.em.fourier import half_plane, trilinear_attenuation
from cryorepro.em.fsc import shell_sums
from cryorepro.em.imageset import Poses
from cryorepro.em.initial_model_gradient import (
    Gradient,
    batch_gradient,
    preconditioned,
    running_curvature,
    to_real_space,
)
from cryorepro.em.lowpass import fourier_radius, multiply_fourier
from cryorepro.em.masks import raised_cosine, soft_sphere
from cryorepro.em.preparation import Preparation
from cryorepro.em.projection import Projector, slice_points
from cryorepro.em.reconstruction import SliceAccumulator, hermitian
from cryorepro.em.rotations import random_rotations
from cryorepro.em.sampling import make_sampling
from tests.em.simulated import SimulatedSet, simulated_set

BOX, RADIUS, PADDING = 32, 10, 2
NO_PRIOR = torch.zeros(BOX // 2 + 1, dtype=torch.float64)
# Sums are over half of Fourier space, and the map's transform is divided by the box: conventions, "Fourier transforms".
SCALE = PADDING**3 / (2.0 * BOX)


@pytest.fixture(scope="module")
def data() -> SimulatedSet:
    return simulated_set(40, box_px=BOX, pixel_size_angstrom=15.08, snr=0.6, seed=3, shift_px=0.0, shares=(1, 0, 0))


def _likelihood(volume: Tensor, images: Tensor, ctf: Tensor, matrices: Tensor) -> Tensor:
    """Log-likelihood of images at known orientations, unit noise, up to a constant; torch can differentiate it."""
    return -0.5 * (images - ctf * _slices(volume, matrices)).abs().square().sum()


def _slices(volume: Tensor, matrices: Tensor) -> Tensor:
    """Slices by plain trilinear interpolation in the transform of the padded map: a reference of its own."""
    side = PADDING * BOX
    damping = trilinear_attenuation(BOX, PADDING, torch.float64, volume.device)
    padded = torch.nn.functional.pad(volume / damping, (side // 2 - BOX // 2,) * 6)
    grid = torch.fft.fftn(torch.fft.ifftshift(padded)) / BOX**2
    points = slice_points(matrices, half_plane(BOX, RADIUS), PADDING)
    low = points.floor()
    total = torch.zeros(points.shape[:2], dtype=torch.complex128)
    for corner in itertools.product((0, 1), repeat=3):
        place = low + torch.tensor(corner, dtype=torch.float64)
        x, y, z = (place.long() % side).unbind(-1)
        total = total + grid[z, y, x] * (1.0 - (points - place).abs()).prod(dim=-1)
    return total


def test_the_reference_slices_are_those_of_the_engine() -> None:
    volume, _, _, matrices = _problem(20)
    ours = Projector(volume, RADIUS, PADDING).slices(matrices, half_plane(BOX, RADIUS))
    assert torch.allclose(_slices(volume, matrices), ours, atol=1e-5 * float(ours.abs().max()))


def _lumps(generator: torch.Generator, share: float) -> Tensor:
    """A ball of random density."""
    axis = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    ball = torch.exp(-(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2) / 60.0)
    return ball * (1.0 + share * torch.randn(BOX, BOX, BOX, generator=generator, dtype=torch.float64))


def _truth() -> Tensor:
    return _lumps(torch.Generator().manual_seed(8), 0.5)


def _problem(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A map, images of another one through random CTFs, and their orientations, all float64."""
    generator = torch.Generator().manual_seed(7)
    volume, matrices, plane = _lumps(generator, 0.3), random_rotations(count, generator), half_plane(BOX, RADIUS)
    ctf = torch.sin(0.03 * plane.shell.double() ** 2 * torch.rand(count, 1, generator=generator) + 0.3)
    return volume, ctf * Projector(_truth(), RADIUS, PADDING).slices(matrices, plane), ctf, matrices


def _ours(volume: Tensor, images: Tensor, ctf: Tensor, matrices: Tensor) -> Tensor:
    plane = half_plane(BOX, RADIUS)
    sums = SliceAccumulator(RADIUS, PADDING, torch.float64)
    sums.insert(images * ctf, ctf.square(), matrices, plane)
    gradient = batch_gradient(hermitian(sums.data.reshape(3, *sums.shape)), volume, NO_PRIOR, RADIUS, PADDING)
    return SCALE * to_real_space(gradient.residual, BOX, PADDING)


def _power(volume: Tensor) -> Tensor:
    """Power of every shell ``[n / 2 + 1]``."""
    return torch.from_numpy(shell_sums(np.abs(np.fft.rfftn(volume.numpy())) ** 2, BOX))


def _cosine(first: Tensor, second: Tensor) -> float:
    return float((first * second).sum() / (first.norm() * second.norm()))


@pytest.mark.parametrize("count", [50, 1000])
def test_the_gradient_is_autograds(count: int) -> None:
    """Shell by shell: the rest is the diagonal taken for ``A^T w A``, worst where samples lie to one side only."""
    volume, images, ctf, matrices = _problem(count)
    volume.requires_grad_(True)
    (exact,) = torch.autograd.grad(_likelihood(volume, images, ctf, matrices), volume)
    found = _ours(volume.detach(), images, ctf, matrices)
    sphere = soft_sphere(BOX, 10.0, 3.0)  # the particle; its mask removes the rest in every step
    error = _power((found - exact) * sphere) / _power(exact * sphere)
    assert error[3:5].max() < 0.2**2
    assert error[5:RADIUS].max() < 0.07**2


def test_the_gradient_vanishes_at_the_map_that_explains_the_images() -> None:
    volume, images, ctf, matrices = _problem(1000)
    explained = ctf * Projector(volume, RADIUS, PADDING).slices(matrices, half_plane(BOX, RADIUS))
    sphere = soft_sphere(BOX, 10.0, 3.0)
    left, before = (_power(_ours(volume, x, ctf, matrices) * sphere) for x in (explained, images))
    assert (left / before)[5:RADIUS].max() < 0.07**2


def _expectation(data: SimulatedSet, volume: Tensor) -> Expectation:
    images = data.image_set()
    sampling = make_sampling(1, 0, 0.0, 1.0, perturbation=0.37)  # off the axes of the grid, as in a run
    model = EstepModel(
        projectors=(Projector(volume, RADIUS, PADDING),),
        sampling=sampling,
        preparation=Preparation(
            half_plane(BOX, RADIUS), torch.ones(BOX, BOX), torch.full((1, BOX // 2 + 1), 4e-4, dtype=torch.float64)
        ),
        coarse_shell=RADIUS,
        log_prior=torch.full((1, sampling.pixels.shape[0]), -2.5, dtype=torch.float64),
        offset_sigma_px=10.0,
        scale=torch.ones(images.scale_groups, dtype=torch.float64),
        adaptive_fraction=1.0,
    )
    return expectation(images, Poses.start(len(images)), model)


def test_the_gradient_is_that_of_the_marginal_likelihood(data: SimulatedSet) -> None:
    """Fisher's identity by finite differences: posteriors move with the map, and the slope is still the same."""
    volume = 0.7 * data.volume(0, 60.0)
    sums = _expectation(data, volume)
    gradient = batch_gradient(sums.grids[0], volume, NO_PRIOR, RADIUS, PADDING)
    slope = SCALE * to_real_space(gradient.residual, BOX, PADDING)
    spectrum = raised_cosine(torch.from_numpy(np.abs(fourier_radius(BOX) - 6.5) - 1.5))
    direction = torch.from_numpy(multiply_fourier(data.volume(0).numpy(), spectrum.numpy())).float()
    step = 0.05
    up, down = (float(_expectation(data, volume + s * direction).poses.log_likelihood.sum()) for s in (step, -step))
    assert (up - down) / (2 * step) == pytest.approx(float((slope * direction).sum()), rel=0.03)


def test_one_full_step_reaches_the_map_of_images_without_noise() -> None:
    volume, images, ctf, matrices, truth = *_problem(1000), _truth()
    plane, sums = half_plane(BOX, RADIUS), SliceAccumulator(RADIUS, PADDING, torch.float64)
    sums.insert(images * ctf, ctf.square(), matrices, plane)
    data = hermitian(sums.data.reshape(3, *sums.shape))
    gradient = batch_gradient(data, volume, NO_PRIOR, RADIUS, PADDING)
    reached = volume + preconditioned(gradient, NO_PRIOR, NO_PRIOR, RADIUS, BOX, PADDING)
    sphere = soft_sphere(BOX, 10.0, 3.0)
    before, after = (_power((v - truth) * sphere) for v in (volume, reached))
    assert (after / before)[5 : RADIUS - 1].max() < 0.15**2


def test_little_seen_coefficients_move_less_and_the_prior_pulls_to_zero() -> None:
    weight = torch.full((2 * 21 + 1, 2 * 21 + 1, 22), 1.0, dtype=torch.float64)
    seen = Gradient(torch.ones_like(weight).to(torch.complex128), weight)
    plain = preconditioned(seen, NO_PRIOR, NO_PRIOR, RADIUS, BOX, PADDING)
    held_back = preconditioned(seen, NO_PRIOR + 4.0, NO_PRIOR, RADIUS, BOX, PADDING)
    assert torch.allclose(held_back, plain / 4.0)
    volume = torch.rand(BOX, BOX, BOX, generator=torch.Generator().manual_seed(1))
    nothing = torch.zeros(3, *weight.shape)
    pulled = preconditioned(
        batch_gradient(nothing, volume, NO_PRIOR + 1.0, RADIUS, PADDING), NO_PRIOR, NO_PRIOR + 1.0, RADIUS, BOX, PADDING
    )
    assert _cosine(pulled, volume.double()) < -0.5


def test_a_new_shell_takes_the_batchs_curvature_and_others_average() -> None:
    previous, batch = torch.tensor([0.0, 2.0]).double(), torch.tensor([3.0, 4.0]).double()
    assert running_curvature(previous, batch, 0.9).tolist() == pytest.approx([3.0, 2.2])
