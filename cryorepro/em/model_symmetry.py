"""The symmetry axes of an atomic model, found by superposing its chains, and its turn into a group's
setting."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt

from cryorepro.em.atomic import AtomicModel, Positions
from cryorepro.em.errors import InputError
from cryorepro.em.symmetry import Matrices, symmetry_matrices

_SAME_CHAIN_RMSD_ANGSTROM = 3.0
_AXIS_TOLERANCE_DEGREES = 3.0


def superposition(moving: Positions, fixed: Positions) -> tuple[Matrices, npt.NDArray[np.float64], float]:
    """Least-squares rotation ``R``, shift ``t`` and rmsd of ``R @ moving + t`` onto ``fixed``, ``[n, 3]``
    each.

    Kabsch, Acta Cryst. A32 (1976) 922, with the determinant fixed so that no reflection is returned.
    """
    centre_moving, centre_fixed = moving.mean(axis=0), fixed.mean(axis=0)
    rotation = _rotation_between(moving - centre_moving, fixed - centre_fixed)
    shift = centre_fixed - rotation @ centre_moving
    residual = moving @ rotation.T + shift - fixed
    return rotation, shift, float(np.sqrt((residual**2).sum(axis=1).mean()))


def _rotation_between(moving: Positions, fixed: Positions) -> Matrices:
    u, _, vt = np.linalg.svd(moving.T @ fixed)
    signs = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation: Matrices = (u @ signs @ vt).T
    return rotation


def chain_operators(model: AtomicModel) -> Matrices:
    """Rotations ``[c, 3, 3]`` that take the first chain to every chain of the same kind, itself included.

    Raises:
        InputError: the model has no chain with at least 20 traced residues.
    """
    chains = [trace for trace in model.traces.values() if len(trace) >= 20]
    if not chains:
        raise InputError(f"model {model.name}: no chain has 20 residues to superpose")
    first, found = chains[0], []
    for chain in chains:
        common = sorted(first.keys() & chain.keys())
        if len(common) < 0.9 * len(first):
            continue
        rows = [[trace[residue] for residue in common] for trace in (first, chain)]
        moving, fixed = (model.positions_angstrom[row] for row in rows)
        rotation, _, rmsd = superposition(moving, fixed)
        if rmsd < _SAME_CHAIN_RMSD_ANGSTROM:
            found.append(rotation)
    return np.stack(found)


def orient_to_symmetry(model: AtomicModel, symmetry: str) -> AtomicModel:
    """Centre a model and turn it so that its own axes are those of ``symmetry`` in RELION's setting.

    Raises:
        InputError: the superposed chains do not show this symmetry.
    """
    group = symmetry_matrices(symmetry)
    operators = chain_operators(model)
    missing = f"model {model.name}: its chains do not show the symmetry {symmetry}"
    if len(operators) < len(group):
        raise InputError(f"{missing} ({len(operators)} equivalent chains, {len(group)} needed)")
    for turn in _candidate_turns(operators, group):
        matched = _matches(turn @ operators @ turn.T, group)
        if matched is not None:
            refined = _refine(turn, operators[matched], group)
            return model.centred().moved(refined, np.zeros(3))
    raise InputError(missing)


def _axis_and_angle(rotation: Matrices) -> tuple[npt.NDArray[np.float64], float]:
    """Axis (unit vector) and angle in (0, 180] degrees of a rotation ``[3, 3]``."""
    angle = float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0))))
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    axis = np.linalg.eigh((rotation + rotation.T) / 2.0)[1][:, -1]
    return (axis if skew @ axis >= 0.0 else -axis), angle


def _candidate_turns(operators: Matrices, group: Matrices) -> list[Matrices]:
    """Turns that lay two axes of the model on two axes of the group with the same folds and angle between."""
    axes = [_axis_and_angle(rotation) for rotation in group[1:]]
    if not axes:
        return [np.eye(3)]
    own = [_axis_and_angle(rotation) for rotation in operators if np.trace(rotation) < 2.99]
    first, first_angle = axes[0]
    others = [pair for pair in axes if abs(pair[0] @ first) < 0.99]
    if not others:
        return [_frame(first).T @ _frame(axis) for axis, angle in own if _near(angle, first_angle)]
    second, second_angle = others[0]
    wanted = _between(first, second)
    turns = []
    for (a, a_angle), (b, b_angle) in permutations(own, 2):
        if not (_near(a_angle, first_angle) and _near(b_angle, second_angle)):
            continue
        # the axis of a two-fold has no direction of its own
        for sign in (1.0, -1.0) if _near(b_angle, 180.0) else (1.0,):
            if _near(_between(a, sign * b), wanted):
                turns.append(_frame(first, second).T @ _frame(a, sign * b))
    return turns


def _near(angle: float, other: float) -> bool:
    return abs(angle - other) < _AXIS_TOLERANCE_DEGREES


def _between(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ second, -1.0, 1.0))))


def _frame(axis: npt.NDArray[np.float64], towards: npt.NDArray[np.float64] | None = None) -> Matrices:
    """Orthonormal rows: ``axis``, the part of ``towards`` perpendicular to it, and their cross product."""
    if towards is None:
        towards = np.eye(3)[int(np.argmin(np.abs(axis)))]
    second = towards - (towards @ axis) * axis
    second /= np.linalg.norm(second)
    return np.stack([axis, second, np.cross(axis, second)])


def _matches(turned: Matrices, group: Matrices) -> npt.NDArray[np.int64] | None:
    """For each element of the group the operator nearest to it, or None when one has no near operator."""
    distance = np.linalg.norm(turned[:, None] - group[None], axis=(2, 3))
    nearest = distance.argmin(axis=0)
    limit = 2.0 * np.sqrt(2.0) * np.sin(np.radians(_AXIS_TOLERANCE_DEGREES))
    return np.asarray(nearest) if (distance.min(axis=0) < limit).all() else None


def _refine(turn: Matrices, operators: Matrices, group: Matrices) -> Matrices:
    """Improve a turn so that the axes agree in the least-squares sense over the whole group."""
    own = np.stack([_axis_and_angle(operator)[0] for operator in operators])[1:]
    target = np.stack([_axis_and_angle(element)[0] for element in group])[1:]
    if len(own) == 0 or np.linalg.matrix_rank(target) < 2:
        return turn
    flip = np.sign(((own @ turn.T) * target).sum(axis=1))
    return _rotation_between(own * flip[:, None], target)
