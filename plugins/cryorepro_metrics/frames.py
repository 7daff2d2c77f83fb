"""The frame each class ended up in: a class map and its poses may turn and shift together without being
wrong.

With ``A_found = A_true G`` and image positions ``A_true v_true + c_true = A_found v_found + c_found`` a point of the
found map lies at ``v_true = G v_found + u`` in the true one. ``G`` is the rotation nearest to all
``A_true^T A_found`` (Kabsch 1976) and ``u`` the least-squares solution of ``(A_true u)_xy = c_found - c_true``; both
are fitted again without the particles that lie far off. A mirror image is no rotation: a wrong hand stays
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro_metrics.assignments import Pairing

Floats = NDArray[np.float64]
_ROUNDS = 4
_FAR_DEGREES = 30.0


@dataclass(frozen=True)
class Frame:
    """``v_true = rotation @ v_found + shift_angstrom``."""

    rotation: Floats
    shift_angstrom: Floats

    @property
    def angle_degrees(self) -> float:
        """How far the class has turned."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.rotation) - 1.0) / 2.0, -1.0, 1.0))))


@dataclass(frozen=True)
class Framed:
    """Found and true orientations ``[n, 3, 3]``, and the frame of each found class."""

    found: Floats
    true: Floats
    frames: dict[int, Frame]


def fit_frames(pairing: Pairing, operators: Floats | None = None) -> Framed:
    """Frames of all found classes, from the particles that are in their true class.

    With the rotations ``operators [s, 3, 3]`` of a point group each true orientation is first replaced by its
    equivalent nearest to the found one: the axes leave a symmetric particle hardly any frame to choose.

    Raises:
        InputError: poses are missing.
    """
    import torch

    from cryorepro.em.rotations import euler_to_matrix

    found, true = (
        euler_to_matrix(torch.as_tensor(table.angles_degrees)).numpy() for table in (pairing.found, pairing.true)
    )
    if operators is not None and len(operators) > 1:
        true = _nearest_equivalents(found, true, operators)
    displacement = pairing.true.origins_angstrom - pairing.found.origins_angstrom  # c is minus the origin
    classes, correct = pairing.found.column("rlnClassNumber"), pairing.correct
    frames = {}
    for number in pairing.true_of_found:
        chosen = correct & (classes == number)
        frames[number] = _fit(found[chosen], true[chosen], displacement[chosen])
    return Framed(found, true, frames)


def _nearest_equivalents(found: Floats, true: Floats, operators: Floats) -> Floats:
    equivalents = np.einsum("nij,sjk->nsik", true, operators)
    nearest = np.einsum("nij,nsij->ns", found, equivalents).argmax(axis=1)
    return np.asarray(equivalents[np.arange(len(true)), nearest])


def _fit(found: Floats, true: Floats, displacement: Floats) -> Frame:
    if len(found) < 3:
        return Frame(np.eye(3), np.zeros(3))
    # A class that stayed where it was, one that turned as a whole, and for noise whichever is nearer.
    everywhere = _turn(found, true, np.ones(len(found), dtype=bool))
    unturned = _turn(found, true, _angles(found, true) < _FAR_DEGREES)
    candidates = [np.eye(3), unturned, everywhere]
    rotation = min(candidates, key=lambda turn: float(np.median(_angles(found, true @ turn))))
    off = _angles(found, true @ rotation)
    kept = off <= max(_FAR_DEGREES, float(np.median(off)))
    shift, *_ = np.linalg.lstsq(true[kept][:, :2].reshape(-1, 3), displacement[kept].reshape(-1), rcond=None)
    return Frame(rotation, np.asarray(shift, dtype=np.float64))


def _turn(found: Floats, true: Floats, kept: NDArray[np.bool_]) -> Floats:
    """The common rotation of the particles ``kept`` at first, then of those it leaves near."""
    rotation = np.eye(3)
    for _ in range(_ROUNDS):
        if not kept.any():
            return rotation
        rotation = _nearest_rotation(np.einsum("nji,njk->ik", true[kept], found[kept]))
        off = _angles(found, true @ rotation)
        kept = off <= max(_FAR_DEGREES, float(np.median(off)))
    return rotation


def _nearest_rotation(matrix: Floats) -> Floats:
    left, _, right = np.linalg.svd(matrix)
    sign = np.diag([1.0, 1.0, np.linalg.det(left @ right)])
    return np.asarray(left @ sign @ right)


def _angles(first: Floats, second: Floats) -> Floats:
    """Degrees between rotations ``[n, 3, 3]``, accurate at small angles: |A - B|_F = 2 sqrt(2) sin(angle / 2)."""
    distance = np.linalg.norm((first - second).reshape(len(first), 9), axis=1)
    angles: Floats = np.degrees(2.0 * np.arcsin(np.clip(distance / (2.0 * np.sqrt(2.0)), 0.0, 1.0)))
    return angles


def true_orientations(framed: Framed, classes: NDArray[np.int64]) -> Floats:
    """True orientations in the frame of the class each particle was put in, ``[n, 3, 3]``."""
    rotations = np.stack([framed.frames[int(k)].rotation if int(k) in framed.frames else np.eye(3) for k in classes])
    return np.asarray(framed.true @ rotations)


def shift_errors_angstrom(pairing: Pairing, framed: Framed) -> Floats:
    """Distance between found and true particle centres in the image, the class's own shift taken out, ``[n]``."""
    displacement = pairing.true.origins_angstrom - pairing.found.origins_angstrom
    classes = pairing.found.column("rlnClassNumber")
    zero = np.zeros(3)
    shifts = np.stack([framed.frames[int(k)].shift_angstrom if int(k) in framed.frames else zero for k in classes])
    expected = np.einsum("nij,nj->ni", framed.true[:, :2], shifts)
    return np.asarray(np.linalg.norm(displacement - expected, axis=1))
