"""CryoSPARC's poses and RELION's: rotation vectors and Euler angles.

``alignments3D/pose`` is a rotation vector w (axis times angle in rad). Its matrix ``R = exp([w]x)`` takes image
coordinates to those of the reference; RELION's matrix A (see `conventions`) takes them the other way, so ``A = R^T``.
This is how cryoDRGN reads both programs' tables into one frame (Zhong et al., Nat. Methods 18 (2021) 176: it transposes
the matrices of CryoSPARC, not those of RELION). Hence ``R = Rz(rot) Ry(tilt) Rz(psi)`` of active rotations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_POLE = 1e-9


def rotation_vectors_to_euler(vectors: Floats) -> Floats:
    """RELION's Euler angles ``[n, 3]`` (rot, tilt, psi) in degrees of rotation vectors ``[n, 3]`` in rad.

    tilt is in [0, 180], rot and psi in (-180, 180]; at tilt 0 and 180 rot is 0.
    """
    matrix = _matrices(np.asarray(vectors, dtype=np.float64))
    sine = np.hypot(matrix[:, 0, 2], matrix[:, 1, 2])
    tilt = np.arctan2(sine, matrix[:, 2, 2])
    polar = sine < _POLE
    rot = np.where(polar, 0.0, np.arctan2(matrix[:, 1, 2], matrix[:, 0, 2]))
    at_pole = np.arctan2(matrix[:, 1, 0], matrix[:, 1, 1])
    psi = np.where(polar, at_pole, np.arctan2(matrix[:, 2, 1], -matrix[:, 2, 0]))
    angles: Floats = np.rad2deg(np.stack([rot, tilt, psi], axis=1))
    return angles


def euler_to_rotation_vectors(angles_deg: Floats) -> Floats:
    """Rotation vectors ``[n, 3]`` in rad, of length at most pi, of Euler angles ``[n, 3]`` (rot, tilt, psi)."""
    rot, tilt, psi = np.deg2rad(np.asarray(angles_deg, dtype=np.float64)).T
    # the quaternion of Rz(rot) Ry(tilt) Rz(psi)
    w = np.cos(tilt / 2) * np.cos((rot + psi) / 2)
    z = np.cos(tilt / 2) * np.sin((rot + psi) / 2)
    x = np.sin(tilt / 2) * np.sin((psi - rot) / 2)
    y = np.sin(tilt / 2) * np.cos((psi - rot) / 2)
    sign = np.where(w < 0, -1.0, 1.0)
    axis = np.stack([x, y, z], axis=1) * sign[:, None]
    length = np.linalg.norm(axis, axis=1)
    angle = 2.0 * np.arctan2(length, np.abs(w))
    scale = np.where(length > 0, angle / np.where(length > 0, length, 1.0), 2.0)
    vectors: Floats = axis * scale[:, None]
    return vectors


def angle_between_rad(first: Floats, second: Floats) -> Floats:
    """Angle ``[n]`` of the rotation that takes one rotation vector's rotation to the other's, both ``[n, 3]``."""
    distance = np.linalg.norm((_matrices(first) - _matrices(second)).reshape(len(first), 9), axis=1)
    angle: Floats = 2.0 * np.arcsin(np.minimum(distance / np.sqrt(8.0), 1.0))
    return angle


def _matrices(vectors: Floats) -> Floats:
    """Rodrigues: ``R = I + sin(a)/a K + (1 - cos a)/a^2 K^2`` with K the cross-product matrix of the vector."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    matrices: Floats = (
        np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)
    )
    return matrices
