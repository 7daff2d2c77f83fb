"""The timed refinement step means what a refinement step means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryorepro.em.engine_kernel import EngineStep, StepTimes, marginal_weights, score
from cryorepro.em.rotations import random_rotations
from cryorepro.em.symmetry import symmetry_matrices


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_scores_are_the_likelihood_of_white_noise(generator: torch.Generator) -> None:
    data = torch.complex(*torch.randn(2, 4, 30, generator=generator, dtype=torch.float64))
    slices = torch.complex(*torch.randn(2, 7, 30, generator=generator, dtype=torch.float64))
    found = score(data, slices, 0.7).numpy()
    difference = data.numpy()[:, None] - slices.numpy()[None]
    # each coefficient of power 0.7 has a variance of 0.35 in its real and imaginary parts
    expected = -0.5 * (np.abs(difference) ** 2).sum(axis=2) / 0.35
    expected += 0.5 * (np.abs(data.numpy()) ** 2).sum(axis=1)[:, None] / 0.35
    assert np.allclose(found, expected)
    weights = marginal_weights(torch.from_numpy(found)).numpy()
    relative = np.exp(expected - expected.max(axis=1, keepdims=True))
    assert np.allclose(weights, relative / relative.sum(axis=1, keepdims=True))


def step_of(
    generator: torch.Generator, marginal: bool, symmetry: str, padding: int = 1
) -> tuple[EngineStep, torch.Tensor]:
    reference = torch.randn(16, 16, 16, generator=generator)
    matrices = random_rotations(20, generator)
    operators = torch.as_tensor(symmetry_matrices(symmetry))
    step = EngineStep(reference, matrices, padding, marginal, operators, noise_sigma=1.0)
    return step, torch.randn(6, 16, 16, generator=generator)


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize(("symmetry", "order"), [("C1", 1), ("D7", 14)])
def test_each_image_is_inserted_once_under_each_operator(
    generator: torch.Generator, symmetry: str, order: int, padding: int
) -> None:
    step, images = step_of(generator, marginal=False, symmetry=symmetry, padding=padding)
    step.step(images, StepTimes())
    total = float(step.sums.data[2].double().sum())
    assert total == pytest.approx(6 * len(step.plane) * order, rel=1e-4), "trilinear shares of a point sum to one"


def test_marginal_weights_insert_an_image_as_often_in_all(generator: torch.Generator) -> None:
    step, images = step_of(generator, marginal=True, symmetry="C1")
    step.noise_power *= 1e4  # nothing is certain: every orientation holds its share
    step.step(images, StepTimes())
    assert float(step.sums.data[2].double().sum()) == pytest.approx(6 * len(step.plane), rel=1e-3)
