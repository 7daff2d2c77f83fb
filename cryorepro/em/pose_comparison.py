"""Two pose tables of the same particles: angles under symmetry, shifts and defocus apart.

Two refinements may differ by a turn and a shift of the whole particle without either being wrong.  With
``A_2 = A_1 G`` for every particle, ``G`` is the rotation nearest to all ``A_1^T A_2`` (Kabsch 1976), each taken at the
symmetry equivalent nearest to it; a shift ``u`` of the map moves particle centres by ``A_2 u``.  Both are fitted and
taken out before anything is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError
from cryorepro.em.symmetry import Matrices

Floats = npt.NDArray[np.float64]
_ROUNDS = 6
_FAR_DEGREES = 30.0
_STARTS = 24


@dataclass(frozen=True)
class PoseDifference:
    """Angle ``[n]`` in degrees, shift ``[n]`` in Angstrom, and the frame ``A_2 = A_1 frame`` taken out before."""

    angle_degrees: Floats
    shift_angstrom: Floats
    frame: Matrices
    frame_shift_angstrom: Floats

    @property
    def frame_angle_degrees(self) -> float:
        """How far the second refinement is turned as a whole."""
        return float(angles_between(self.frame[None], np.eye(3)[None])[0])

    def within(self, degrees: float) -> float:
        """Fraction of particles whose orientations are no further apart than this."""
        return float((self.angle_degrees <= degrees).mean())


def angles_between(first: Matrices, second: Matrices) -> Floats:
    """Degrees between rotations ``[n, 3, 3]``: |A - B|_F = 2 sqrt(2) sin(angle / 2), accurate at small angles."""
    distance = np.linalg.norm((first - second).reshape(-1, 9), axis=1)
    return np.asarray(np.degrees(2.0 * np.arcsin(np.clip(distance / (2.0 * np.sqrt(2.0)), 0.0, 1.0))))


def compare_poses(
    first: Matrices,
    second: Matrices,
    first_origins_angstrom: Floats,
    second_origins_angstrom: Floats,
    operators: Matrices,
    find_frame: bool = True,
) -> PoseDifference:
    """Compare poses of the same particles in the same order.

    Args:
        first: orientations ``[n, 3, 3]``, reference to image.
        second: the other orientations.
        first_origins_angstrom: shifts ``[n, 2]`` (x, y) that centre each particle.
        second_origins_angstrom: the other shifts.
        operators: rotations of the point group ``[s, 3, 3]``.
        find_frame: whether a turn and shift of the whole particle are taken out.

    Raises:
        InputError: the tables have different lengths or no row.
    """
    if len(first) == 0 or first.shape != second.shape or first_origins_angstrom.shape != second_origins_angstrom.shape:
        raise InputError(f"poses of {len(first)} and of {len(second)} particles cannot be compared")
    frame = _frame(first, second, operators) if find_frame else np.eye(3)
    turned = _nearest(second, first @ frame, operators, frame)
    angles = angles_between(second, turned)
    moved = second_origins_angstrom - first_origins_angstrom
    shift: Floats = np.zeros(3)
    if find_frame:
        kept = angles <= max(_FAR_DEGREES, float(np.median(angles)))
        shift = np.asarray(np.linalg.lstsq(second[kept][:, :2].reshape(-1, 3), moved[kept].reshape(-1), rcond=None)[0])
    left = moved - np.einsum("nij,j->ni", second[:, :2], shift)
    return PoseDifference(angles, np.linalg.norm(left, axis=1), frame, shift)


def _nearest(target: Matrices, turned: Matrices, operators: Matrices, frame: Matrices) -> Matrices:
    """Of the equivalents ``A_1 S frame`` of each ``turned = A_1 frame`` the one nearest to ``target``."""
    conjugate = np.einsum("ji,sjk,kl->sil", frame, operators, frame)  # frame^T S frame
    equivalents = np.einsum("nij,sjk->nsik", turned, conjugate)
    nearest = np.einsum("nij,nsij->ns", target, equivalents).argmax(axis=1)
    return np.asarray(equivalents[np.arange(len(target)), nearest])


def _frame(first: Matrices, second: Matrices, operators: Matrices) -> Matrices:
    """The common turn with the smallest median angle, from no turn and from the turns of a few particles."""
    picked = np.linspace(0, len(first) - 1, min(_STARTS, len(first))).astype(int)
    starts = [np.eye(3), *np.einsum("nji,njk->nik", first[picked], second[picked])]
    fitted = [np.eye(3), *(_fit(first, second, operators, start) for start in starts)]

    def median(frame: Matrices) -> float:
        return float(np.median(angles_between(second, _nearest(second, first @ frame, operators, frame))))

    best = min(fitted, key=median)
    # A_1 S G shows the same images as A_1 G: of these frames the one that turns least.
    return np.asarray(max(operators @ best, key=lambda frame: float(np.trace(frame))))


def _fit(first: Matrices, second: Matrices, operators: Matrices, frame: Matrices) -> Matrices:
    for _ in range(_ROUNDS):
        turned = _nearest(second, first @ frame, operators, frame)
        off = angles_between(second, turned)
        kept = off <= max(_FAR_DEGREES, float(np.median(off)))
        # turned = A_1 S G: the step H that takes them to the second, S being the equivalent each has chosen.
        left, _, right = np.linalg.svd(np.einsum("nji,njk->ik", turned[kept], second[kept]))
        step = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
        frame = frame @ step
    return frame
