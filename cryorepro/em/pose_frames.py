"""The common turn, and perhaps mirror image, between found and true poses of the same particles.

Nothing in the images fixes how a map that was made from them alone is turned, nor its hand.  With
``A_found = A_true S G`` (S any operator of the point group, G the frame) each particle proposes a frame; the one under
which most particles agree is refined on those (Kabsch, Acta Cryst. A32 (1976) 922), their equivalents chosen anew.  The
projections of a point-inverted map are those of the map turned by half a turn in the image plane, so the other hand
shows in the poses as ``A_found = Rz(180) A_true S G``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.errors import InputError

Floats = NDArray[np.float64]
_HALF_TURN = np.diag([-1.0, -1.0, 1.0])
_PROPOSALS, _JUDGES, _ROUNDS = 60, 200, 6
_NEAR_DEGREES = 15.0


@dataclass(frozen=True)
class PoseFrame:
    """How found poses lie to true ones.

    Attributes:
        rotation: G, [3, 3]: a point v of the found map lies at G v in the true one (or its inverse).
        mirrored: Whether the found map has the other hand.
        errors_degrees: [n], the angle left between each found and its nearest true orientation.
        true: [n, 3, 3], the true orientations in the frame of the found ones, each its nearest equivalent.
    """

    rotation: Floats
    mirrored: bool
    errors_degrees: Floats
    true: Floats


def find_frame(found: Floats, true: Floats, operators: Floats, either_hand: bool = True) -> PoseFrame:
    """The frame under which orientations ``found [n, 3, 3]`` agree best with ``true [n, 3, 3]``.

    Args:
        found: matrices as `cryorepro.em.conventions` has them.
        true: of the same particles.
        operators: [s, 3, 3] of the point group about the true map's axes.
        either_hand: try the other hand as well.

    Raises:
        InputError: there are fewer than three particles, or the arrays do not fit.
    """
    if len(found) < 3 or found.shape != true.shape or found.shape[1:] != (3, 3):
        raise InputError(f"poses: {len(found)} found and {len(true)} true orientations cannot be compared")
    hands = (False, True) if either_hand else (False,)
    candidates = [_one_hand(_HALF_TURN @ found if mirrored else found, true, operators) for mirrored in hands]
    best = min(range(len(hands)), key=lambda number: float(np.median(candidates[number][1])))
    rotation, errors, nearest = candidates[best]
    return PoseFrame(rotation, hands[best], errors, _HALF_TURN @ nearest if hands[best] else nearest)


def _one_hand(found: Floats, true: Floats, operators: Floats) -> tuple[Floats, Floats, Floats]:
    step = max(1, len(found) // _PROPOSALS)
    judges = slice(None, None, max(1, len(found) // _JUDGES))
    proposals = np.einsum("nji,njk->nik", true[::step], found[::step])
    agreeing = [
        float((_errors(found[judges], true[judges], operators, proposal)[0] < _NEAR_DEGREES).mean())
        for proposal in proposals
    ]
    rotation = proposals[int(np.argmax(agreeing))]
    for _ in range(_ROUNDS):
        errors, nearest = _errors(found, true, operators, rotation)
        kept = errors <= max(_NEAR_DEGREES, float(np.quantile(errors, 0.3)))
        # the nearest equivalents already hold the old turn: what is left is a small one on top of it
        rotation = rotation @ _nearest_rotation(np.einsum("nji,njk->ik", nearest[kept], found[kept]))
    errors, nearest = _errors(found, true, operators, rotation)
    return rotation, errors, nearest


def _errors(found: Floats, true: Floats, operators: Floats, rotation: Floats) -> tuple[Floats, Floats]:
    """Angle in degrees of each particle to its nearest equivalent turned by ``rotation``, and that orientation."""
    turned = operators @ rotation
    equivalents = np.einsum("nij,sjk->nsik", true, turned)
    traces = np.einsum("nij,nsij->ns", found, equivalents)
    nearest = np.take_along_axis(equivalents, traces.argmax(axis=1)[:, None, None, None], axis=1)[:, 0]
    distance = np.linalg.norm((found - nearest).reshape(len(found), 9), axis=1)
    errors = np.degrees(2.0 * np.arcsin(np.clip(distance / (2.0 * np.sqrt(2.0)), 0.0, 1.0)))
    return np.asarray(errors), np.asarray(nearest)


def _nearest_rotation(matrix: Floats) -> Floats:
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right)
