"""Two divisions of the same particles into classes: which class is which, how full they are, how far they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from cryorepro.em.errors import InputError

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassMatch:
    """``table [a, b]`` counts particles by class in the first and second division, numbered as in ``first``,
    ``second``; ``pairs`` matches classes one to one so that as many particles as possible agree."""

    table: npt.NDArray[np.int64]
    first: tuple[int, ...]
    second: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]

    @property
    def agreement(self) -> float:
        """Fraction of particles whose classes are matched to each other."""
        positions = [(self.first.index(a), self.second.index(b)) for a, b in self.pairs]
        return float(sum(self.table[i, j] for i, j in positions) / self.table.sum())

    @property
    def occupancies(self) -> tuple[dict[int, float], dict[int, float]]:
        """Fraction of particles in each class, by its number, in the first and the second division."""
        total = float(self.table.sum())
        first = {k: float(n) / total for k, n in zip(self.first, self.table.sum(axis=1), strict=True)}
        second = {k: float(n) / total for k, n in zip(self.second, self.table.sum(axis=0), strict=True)}
        return first, second

    @property
    def largest_occupancy_difference(self) -> float:
        """Over matched classes; a class without a partner counts with its whole occupancy."""
        first, second = (dict(side) for side in self.occupancies)
        differences = [abs(first.pop(a) - second.pop(b)) for a, b in self.pairs]
        return max([*differences, *first.values(), *second.values()])

    @property
    def adjusted_rand_index(self) -> float:
        """Agreement of pairs of particles, 0 for chance and 1 for the same division; numbers of classes are free.

        Hubert & Arabie, Journal of Classification 2 (1985) 193, equation 5.
        """
        both = _pairs(self.table).sum()
        rows, columns = _pairs(self.table.sum(axis=1)).sum(), _pairs(self.table.sum(axis=0)).sum()
        every = _pairs(np.array([self.table.sum()]))[0]
        expected = rows * columns / every if every > 0 else 0.0
        largest = (rows + columns) / 2.0
        # Both divisions put everything in one class, or every particle in its own: they are the same.
        return float((both - expected) / (largest - expected)) if largest != expected else 1.0


def match_classes(first: Labels, second: Labels) -> ClassMatch:
    """Match the classes of two divisions ``[n]`` by the Hungarian method (Kuhn 1955) on their overlap.

    Raises:
        InputError: the divisions are of no particles, or of different numbers of them.
    """
    if len(first) != len(second) or len(first) == 0:
        raise InputError(f"classes of {len(first)} and of {len(second)} particles cannot be matched")
    left, left_index = np.unique(first, return_inverse=True)
    right, right_index = np.unique(second, return_inverse=True)
    table = np.zeros((len(left), len(right)), dtype=np.int64)
    np.add.at(table, (left_index, right_index), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    pairs = tuple((int(left[i]), int(right[j])) for i, j in zip(rows, columns, strict=True))
    return ClassMatch(table, tuple(map(int, left)), tuple(map(int, right)), pairs)


def _pairs(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    numbers = counts.astype(np.float64)
    return numbers * (numbers - 1.0) / 2.0
