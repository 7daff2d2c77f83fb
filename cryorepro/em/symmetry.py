"""Point-group symmetries in RELION's settings, as rotation matrices.

A matrix ``S`` of a group acts on column vectors ``(x, y, z)`` of the particle's own frame and leaves the
particle unchanged.  If ``A(rot, tilt, psi)`` takes the particle to the frame of an image, ``A @ S`` shows the
same image.

Settings: C n has its axis along z; D n adds a two-fold along x; T has a three-fold along z; O has its
four-folds along x, y and z.  The icosahedral settings differ in what lies along z and in the xz plane: I (the
same as I2) has two-folds along x, y and z with five-folds in the xz plane at (1, 0, phi); I1 is I2 turned by
90 degrees about y; I3 and I4 have a five-fold along z.  The tests hold every one against the angles that
``relion_particle_symmetry_expand`` writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from cryorepro.em.errors import InputError

Matrices = npt.NDArray[np.float64]

_PHI = (1.0 + math.sqrt(5.0)) / 2.0
_MAX_FOLD = 120
_LARGEST_GROUP = 2 * _MAX_FOLD

_Generator = tuple[int, tuple[float, float, float]]
_POLYHEDRAL: dict[str, tuple[_Generator, ...]] = {
    "T": ((3, (0.0, 0.0, 1.0)), (2, (0.0, math.sqrt(2.0), 1.0))),
    "O": ((4, (0.0, 0.0, 1.0)), (3, (1.0, 1.0, 1.0))),
    "I1": ((2, (1.0, 0.0, 0.0)), (5, (_PHI, 0.0, -1.0)), (3, (_PHI**2, 1.0, 0.0))),
    "I2": ((2, (0.0, 0.0, 1.0)), (5, (1.0, 0.0, _PHI)), (3, (0.0, 1.0, _PHI**2))),
    "I3": ((5, (0.0, 0.0, 1.0)), (2, (-1.0, 0.0, _PHI))),
    "I4": ((5, (0.0, 0.0, 1.0)), (2, (1.0, 0.0, _PHI))),
}


def normalise_symmetry(name: str) -> str:
    """Return the canonical spelling of a point group ("c4" is "C4", "I" is "I2").

    Raises:
        InputError: the name is not a point group this module knows.
    """
    text = name.strip().upper()
    text = "I2" if text == "I" else text
    if text in _POLYHEDRAL:
        return text
    match = re.fullmatch(r"([CD])([1-9][0-9]{0,2})", text)
    if match is None or int(match.group(2)) > _MAX_FOLD:
        raise InputError(
            f"symmetry {name!r} is not a point group: give Cn or Dn (n to {_MAX_FOLD}), T, O, I or I1 to I4"
        )
    return text


def symmetry_matrices(name: str) -> Matrices:
    """Return the rotations of a point group.

    Args:
        name: point group in RELION's spelling, for example ``"C1"``, ``"D7"``, ``"O"``.

    Returns:
        float64 ``[S, 3, 3]``, the identity first, acting on ``(x, y, z)`` columns; a fresh array.

    Raises:
        InputError: the name is not a point group.
    """
    return _group(normalise_symmetry(name)).copy()


def symmetry_order(name: str) -> int:
    """Return the number of rotations in the group (1 for C1, 24 for O).  Raises InputError as above."""
    return int(_group(normalise_symmetry(name)).shape[0])


def rotation_about_axis(axis: Sequence[float], angle_radians: float) -> Matrices:
    """Return the right-handed active rotation about an axis, ``[3, 3]`` (Rodrigues' formula)."""
    direction = np.asarray(axis, dtype=np.float64)
    x, y, z = direction / np.linalg.norm(direction)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    sine, versine = math.sin(angle_radians), 1.0 - math.cos(angle_radians)
    turned: Matrices = np.eye(3) + sine * cross + versine * cross @ cross
    return turned


@cache
def _group(name: str) -> Matrices:
    if name[0] == "C":
        return _about_z(int(name[1:]))
    if name[0] == "D":
        about_z = _about_z(int(name[1:]))
        return np.concatenate([about_z, about_z @ rotation_about_axis((1.0, 0.0, 0.0), math.pi)])
    return _closure([rotation_about_axis(axis, 2.0 * math.pi / fold) for fold, axis in _POLYHEDRAL[name]])


def _about_z(fold: int) -> Matrices:
    return np.stack([rotation_about_axis((0.0, 0.0, 1.0), 2.0 * math.pi * k / fold) for k in range(fold)])


def _closure(generators: Sequence[Matrices]) -> Matrices:
    """Multiply the generators until nothing new appears."""
    found: list[Matrices] = [np.eye(3)]
    for element in found:  # the list grows while it is walked
        for generator in generators:
            product = element @ generator
            if min(float(np.abs(product - other).max()) for other in found) > 1e-6:
                found.append(product)
        if len(found) > _LARGEST_GROUP:
            raise AssertionError("the generators do not make a finite point group")
    return np.stack(found)
