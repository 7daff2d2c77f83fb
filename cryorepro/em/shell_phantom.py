"""A procedural hollow shell with octahedral symmetry, of the size of apoferritin.

It is not an atomic model.  It has what the refinement of such a particle depends on: a round, hollow shell
whose orientation shows only in its finer features, and exact symmetry about RELION's octahedral axes.
"""

from __future__ import annotations

import numpy as np

from cryorepro.em.blobs import BlobModel
from cryorepro.em.streams import random_stream
from cryorepro.em.symmetry import symmetry_matrices

INNER_RADIUS_ANGSTROM, OUTER_RADIUS_ANGSTROM = 40.0, 58.0
_BLOBS_PER_SUBUNIT = 22
_TRIALS = 16
_SIGMAS_ANGSTROM = (3.0, 4.0, 5.0)


def octahedral_shell(seed: int) -> BlobModel:
    """The shell drawn from ``seed``: one subunit of blobs, repeated by the 24 rotations of the group."""
    stream = random_stream(seed, "phantom/shell")
    group = symmetry_matrices("O")
    chosen = np.empty((0, 3))
    for _ in range(_BLOBS_PER_SUBUNIT):
        trials = _in_shell(stream, _TRIALS)
        chosen = np.concatenate([chosen, trials[_loneliest(trials, chosen, group)][None]])
    centres = np.round(np.einsum("sij,bj->sbi", group, np.round(chosen, 3)).reshape(-1, 3), 3)
    sigmas = stream.choice(_SIGMAS_ANGSTROM, size=_BLOBS_PER_SUBUNIT)
    masses = np.round((sigmas / 4.0) ** 2 * stream.uniform(0.5, 1.5, size=_BLOBS_PER_SUBUNIT), 6)
    return BlobModel(centres, np.tile(sigmas, len(group)), np.tile(masses, len(group)))


def _in_shell(stream: np.random.Generator, count: int) -> np.ndarray:
    directions = stream.standard_normal((count, 3))
    directions /= np.sqrt(np.square(directions).sum(axis=1, keepdims=True))
    cubes = stream.uniform(INNER_RADIUS_ANGSTROM**3, OUTER_RADIUS_ANGSTROM**3, size=(count, 1))
    return np.asarray(directions * np.cbrt(cubes))


def _loneliest(trials: np.ndarray, chosen: np.ndarray, group: np.ndarray) -> int:
    """The trial farthest from the blobs chosen so far, from their mates and from its own."""
    nearest = np.full(len(trials), np.inf)
    if len(chosen):
        mates = np.einsum("sij,bj->sbi", group, chosen).reshape(-1, 3)
        nearest = np.linalg.norm(trials[:, None] - mates[None], axis=2).min(axis=1)
    own = np.einsum("sij,tj->tsi", group[1:], trials)
    return int(np.minimum(nearest, np.linalg.norm(trials[:, None] - own, axis=2).min(axis=1)).argmax())
