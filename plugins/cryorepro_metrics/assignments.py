"""Pairs found and true particles, and found and true classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cryorepro.em.errors import InputError
from cryorepro.em.formats.particles import Particles, read_particles


@dataclass(frozen=True)
class Pairing:
    """Found and true particles in the same order, and the class matching that agrees best."""

    found: Particles
    true: Particles
    true_of_found: dict[int, int]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each particle's class, translated by the matching, is its true one."""
        translated = [self.true_of_found.get(int(k), -1) for k in self.found.column("rlnClassNumber")]
        return np.asarray(np.asarray(translated) == self.true.column("rlnClassNumber"))


def pair(found_star: Path, true_star: Path) -> Pairing:
    """Match rows by image name and classes by the Hungarian method (Kuhn 1955) on their overlap.

    Raises:
        InputError: the tables do not hold the same images.
    """
    found = read_particles(found_star, require_ctf=False)
    true = read_particles(true_star, require_ctf=False)
    if len(found) != len(true):
        raise InputError(f"{found_star.name} has {len(found)} rows and the truth {len(true)}")
    position = {_image(name): row for row, name in enumerate(true.image_names)}
    try:
        order = [position[_image(name)] for name in found.image_names]
    except KeyError as error:
        raise InputError(f"{found_star.name}: image {error.args[0]} is not in the truth") from error
    if len(set(order)) != len(order):
        raise InputError(f"{found_star.name}: an image appears twice")
    true = true.subset(order)
    return Pairing(found, true, match_classes(found, true))


def match_classes(found: Particles, true: Particles) -> dict[int, int]:
    """True class of each found class, one to one where the numbers allow."""
    left, right = found.column("rlnClassNumber"), true.column("rlnClassNumber")
    overlap = np.zeros((int(left.max()), int(right.max())))
    np.add.at(overlap, (left - 1, right - 1), 1)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return {int(row) + 1: int(column) + 1 for row, column in zip(rows, columns, strict=True)}


def _image(name: str) -> tuple[int, str]:
    number, _, stack = name.partition("@")
    return int(number), Path(stack).name
