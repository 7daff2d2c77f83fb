"""Rotations in RELION's convention: Euler angles, matrices, distances, point-group equivalents."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def euler_to_matrix(euler_deg: Tensor) -> Tensor:
    """Matrices ``[..., 3, 3]`` of Euler angles ``[..., 3]`` = (rot, tilt, psi) in degrees."""
    angles = torch.deg2rad(euler_deg)
    c_rot, c_tilt, c_psi = torch.cos(angles).unbind(-1)
    s_rot, s_tilt, s_psi = torch.sin(angles).unbind(-1)
    x_axis = (c_tilt * c_rot, c_tilt * s_rot, -s_tilt)
    y_axis = (-s_rot, c_rot, torch.zeros_like(c_rot))
    first = torch.stack([c_psi * x + s_psi * y for x, y in zip(x_axis, y_axis, strict=True)], dim=-1)
    second = torch.stack([-s_psi * x + c_psi * y for x, y in zip(x_axis, y_axis, strict=True)], dim=-1)
    third = torch.stack([s_tilt * c_rot, s_tilt * s_rot, c_tilt], dim=-1)
    return torch.stack([first, second, third], dim=-2)


def matrix_to_euler(matrices: Tensor) -> Tensor:
    """Euler angles ``[..., 3]`` (rot, tilt, psi) in degrees of rotation matrices ``[..., 3, 3]``.

    tilt is in [0, 180], rot and psi in (-180, 180]. At tilt 0 and 180 only psi is free and rot is set to 0.
    """
    sin_tilt = torch.hypot(matrices[..., 2, 0], matrices[..., 2, 1])
    tilt = torch.atan2(sin_tilt, matrices[..., 2, 2])
    polar = sin_tilt < 1e-6
    rot = torch.atan2(matrices[..., 2, 1], matrices[..., 2, 0])
    psi = torch.atan2(matrices[..., 1, 2], -matrices[..., 0, 2])
    psi_polar = torch.atan2(-matrices[..., 1, 0] * matrices[..., 2, 2].sign(), matrices[..., 1, 1])
    rot = torch.where(polar, torch.zeros_like(rot), rot)
    psi = torch.where(polar, psi_polar, psi)
    return torch.rad2deg(torch.stack([rot, tilt, psi], dim=-1))


def view_direction(matrices: Tensor) -> Tensor:
    """Unit vector ``[..., 3]``, reference frame, along which each orientation ``[..., 3, 3]`` projects."""
    return matrices[..., 2, :]


def rotation_angle_deg(first: Tensor, second: Tensor) -> Tensor:
    """Angle in degrees ``[...]`` of the rotation that takes one matrix ``[..., 3, 3]`` to the other.

    Uses |A - B|_F = 2 sqrt(2) sin(angle / 2): accurate at small angles, where arccos of the trace is not.
    """
    distance = (first - second).flatten(-2).norm(dim=-1)
    sine = (distance / (2.0 * math.sqrt(2.0))).clamp(max=1.0)
    return torch.rad2deg(2.0 * torch.asin(sine))


def symmetric_angle_deg(first: Tensor, second: Tensor, symmetry: Tensor) -> Tensor:
    """Smallest angle in degrees between ``first`` and any point-group equivalent of ``second``.

    Matrices ``[..., 3, 3]``; ``symmetry`` is ``[s, 3, 3]``, the whole group, identity included.
    """
    equivalents = torch.einsum("...ij,sjk->...sik", second, symmetry.to(second))
    return rotation_angle_deg(first.unsqueeze(-3), equivalents).amin(dim=-1)


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """``[count, 3, 3]`` float64 rotations, uniform over SO(3): normalised Gaussian quaternions."""
    quaternion = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    w, x, y, z = (quaternion / quaternion.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)
