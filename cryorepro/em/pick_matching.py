"""Two sets of particle positions held against each other: who found whom, and how often.

Positions are matched one to one within a distance: as many pairs as possible, and of those sets of pairs the one
with the smallest sum of distances.  A pair further apart than the limit never counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from cryorepro.em.errors import InputError

Positions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PickMatch:
    """Pairs ``[m, 2]`` (row in found, row in true) and their distances ``[m]``, among so many found and true."""

    pairs: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    found: int
    true: int

    @property
    def precision(self) -> float:
        """Fraction of found positions that are true; 0 when nothing was found."""
        return len(self.pairs) / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Fraction of true positions that were found; 0 when there are none."""
        return len(self.pairs) / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 when both are."""
        return 2.0 * len(self.pairs) / (self.found + self.true) if self.found + self.true else 0.0


def match_positions(found: Positions, true: Positions, limit: float) -> PickMatch:
    """Match positions ``[n, d]`` and ``[m, d]`` one to one, no pair further apart than ``limit`` (same unit).

    Raises:
        InputError: positions are not finite rows of one dimension, or the limit is not positive.
    """
    found, true = (np.asarray(rows, dtype=np.float64) for rows in (found, true))
    if found.ndim != 2 or true.ndim != 2 or found.shape[1] != true.shape[1] or not limit > 0.0:
        raise InputError(f"picks: positions of shape {found.shape} and {true.shape} within {limit} cannot be matched")
    if not (np.isfinite(found).all() and np.isfinite(true).all()):
        raise InputError("picks: a position is not finite")
    empty = PickMatch(np.empty((0, 2), dtype=np.int64), np.empty(0), len(found), len(true))
    if len(found) == 0 or len(true) == 0:
        return empty
    near = cKDTree(found).sparse_distance_matrix(cKDTree(true), limit, output_type="coo_matrix")
    if near.nnz == 0:
        return empty
    rows, columns = near.row.astype(np.int64), near.col.astype(np.int64)
    pairs = np.array(_assign(rows, columns, near.data, len(found), len(true), limit), dtype=np.int64)
    distances = np.linalg.norm(found[pairs[:, 0]] - true[pairs[:, 1]], axis=1)
    return PickMatch(pairs, distances, len(found), len(true))


def _assign(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    distance: Positions,
    found: int,
    true: int,
    limit: float,
) -> list[tuple[int, int]]:
    """Hungarian matching within each group of positions linked by near pairs."""
    size = found + true
    graph = coo_array((np.ones(len(rows)), (rows, columns + found)), shape=(size, size))
    label = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(label, kind="stable")
    edges = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    pairs: list[tuple[int, int]] = []
    for group in edges:
        left, left_index = np.unique(rows[group], return_inverse=True)
        right, right_index = np.unique(columns[group], return_inverse=True)
        # A near pair gains more than all distances of the group can cost, so pairs are counted first.
        gain = np.zeros((len(left), len(right)))
        gain[left_index, right_index] = limit * (min(gain.shape) + 1) - distance[group]
        chosen = linear_sum_assignment(gain, maximize=True)
        pairs += [(int(left[i]), int(right[j])) for i, j in zip(*chosen, strict=True) if gain[i, j] > 0]
    return sorted(pairs)
