"""Rotations against scipy, and the conventions the matrices promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryorepro.em import rotations


def _random_euler(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    euler = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return euler * torch.tensor([360.0, 180.0, 360.0]) - torch.tensor([180.0, 0.0, 180.0])


def test_matrix_is_the_inverse_of_scipys_active_zyz() -> None:
    euler = _random_euler(200)
    expected = Rotation.from_euler("ZYZ", euler.numpy(), degrees=True).inv().as_matrix()
    np.testing.assert_allclose(rotations.euler_to_matrix(euler).numpy(), expected, atol=1e-14)


def test_euler_round_trip_and_ranges() -> None:
    euler = _random_euler(500)
    back = rotations.matrix_to_euler(rotations.euler_to_matrix(euler))
    torch.testing.assert_close(back, euler, atol=1e-9, rtol=0)


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_polar_orientations_keep_their_matrix(tilt: float) -> None:
    matrix = rotations.euler_to_matrix(torch.tensor([[33.0, tilt, -120.0]], dtype=torch.float64))
    back = rotations.matrix_to_euler(matrix)
    assert back[0, 0] == 0.0
    torch.testing.assert_close(rotations.euler_to_matrix(back), matrix, atol=1e-12, rtol=0)


def test_view_direction_has_the_polar_angles_of_rot_and_tilt() -> None:
    rot, tilt = np.deg2rad(40.0), np.deg2rad(70.0)
    matrix = rotations.euler_to_matrix(torch.tensor([40.0, 70.0, 11.0], dtype=torch.float64))
    expected = [np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)]
    np.testing.assert_allclose(rotations.view_direction(matrix).numpy(), expected, atol=1e-14)


def test_angle_matches_scipy_down_to_tiny_angles() -> None:
    for angle in (1e-6, 0.3, 60.0, 179.9):
        first = torch.eye(3, dtype=torch.float64)
        axis = np.array([1.0, 2.0, -0.5]) / np.linalg.norm([1.0, 2.0, -0.5])
        second = torch.from_numpy(Rotation.from_rotvec(np.deg2rad(angle) * axis).as_matrix())
        assert rotations.rotation_angle_deg(first, second).item() == pytest.approx(angle, rel=1e-7)


def test_symmetric_angle_is_zero_for_equivalents() -> None:
    symmetry = torch.from_numpy(Rotation.create_group("O").as_matrix())
    views = rotations.random_rotations(20, torch.Generator().manual_seed(1))
    turned = views @ symmetry[13]
    assert rotations.rotation_angle_deg(views, turned).min() > 60.0
    assert rotations.symmetric_angle_deg(views, turned, symmetry).max() < 1e-5


def test_random_rotations_are_proper_and_uniform() -> None:
    views = rotations.random_rotations(4000, torch.Generator().manual_seed(3))
    torch.testing.assert_close(torch.linalg.det(views), torch.ones(4000, dtype=torch.float64))
    assert views.mean(dim=0).abs().max() < 0.04
    # E[trace^2] = 1 for the defining representation of SO(3)
    assert torch.einsum("nii->n", views).square().mean().item() == pytest.approx(1.0, abs=0.08)
