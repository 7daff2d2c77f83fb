"""A procedural protein: helices and loops grown into a given shape, atom by atom, under a point group.

It is no fold of nature.  It has what refinement at 4 to 10 Angstrom depends on: rods of 10 A distance with the pitch of
an alpha helix, a chain that connects them, protein's density, and exact symmetry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.atomic import AtomicModel

Floats = NDArray[np.float64]
Inside = Callable[[Floats], NDArray[np.bool_]]
"""Whether each of the points [n, 3] belongs to the shape."""

_RISE, _TURN = 1.5, np.deg2rad(100.0)
_LOOP_STEP = 3.4
_LOOP_RESIDUES = (2, 5)
_HELIX_RESIDUES = (8, 18)
_TRIALS = 160
_WANTED_DISTANCE = 9.5
_DECIMALS = 3
# cylindrical coordinates of a residue's atoms in an alpha helix: radius in A, angle in degrees, height in A
_HELIX_ATOMS = (
    ("N", 1.55, -28.0, -0.85), ("C", 2.29, 0.0, 0.0), ("C", 1.65, 27.0, 1.10), ("O", 2.00, 22.0, 2.30),
    ("C", 3.30, -18.0, -0.40), ("C", 4.40, -22.0, 0.40), ("C", 5.30, -8.0, -0.70), ("N", 6.10, -20.0, 0.60),
)  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """A chain of so many residues, begun at a point and grown within a shape."""

    name: str
    residues: int
    start: tuple[float, float, float]
    inside: Inside


def grow_polymer(name: str, chains: list[Chain], operators: Floats, stream: np.random.Generator) -> AtomicModel:
    """Grow the chains one after the other and repeat them by ``operators [s, 3, 3]`` (the identity among them).

    Every rod goes where, of many random trials inside the shape, it keeps the greatest distance to the rods that
    are there, their mates, and its own mates.
    """
    axes = np.empty((0, 3))
    atoms: list[Floats] = []
    elements: list[str] = []
    traces: dict[str, dict[int, int]] = {}
    for chain in chains:
        grown, axes = _grow(chain, operators, axes, stream)
        trace = traces.setdefault(chain.name, {})
        for number, residue in enumerate(grown, start=1):
            trace[number] = len(elements) + 1
            elements += [symbol for symbol, *_ in _HELIX_ATOMS]
            atoms.append(residue)
    unit = np.round(np.concatenate(atoms), _DECIMALS)
    unit -= np.round(unit.mean(axis=0), _DECIMALS) if len(operators) == 1 else 0.0
    everywhere = np.einsum("sij,aj->sai", operators, unit).reshape(-1, 3)
    return AtomicModel(name, everywhere, tuple(elements) * len(operators), traces)


def _grow(chain: Chain, operators: Floats, axes: Floats, stream: np.random.Generator) -> tuple[list[Floats], Floats]:
    residues: list[Floats] = []
    end = np.asarray(chain.start, dtype=np.float64)
    while len(residues) < chain.residues:
        left = chain.residues - len(residues)
        first, last = _next_rod(chain.inside, end, operators, axes, stream)
        loop = _loop(end, first, stream) if residues else []
        helix = _helix(first, last, float(stream.uniform(0.0, 2.0 * np.pi)))
        residues += (loop + helix)[:left]
        length = max(2, int(np.linalg.norm(last - first) / 3.0))
        axes = np.concatenate([axes, np.linspace(first, last, length)])
        end = last
    return residues, axes


def _next_rod(
    inside: Inside, end: Floats, operators: Floats, axes: Floats, stream: np.random.Generator
) -> tuple[Floats, Floats]:
    """Ends of the loneliest of many rods that begin near ``end``; farther off when nothing near is free."""
    best, best_score = (end, end + (0.0, 0.0, _RISE * _HELIX_RESIDUES[0])), -np.inf
    for reach in (13.0, 26.0, 52.0):
        directions = _unit_vectors(stream, 2 * _TRIALS).reshape(2, _TRIALS, 3)
        firsts = end + directions[0] * stream.uniform(6.0, reach, (_TRIALS, 1))
        lengths = _RISE * stream.integers(_HELIX_RESIDUES[0], _HELIX_RESIDUES[1] + 1, (_TRIALS, 1))
        lasts = firsts + directions[1] * lengths
        kept = inside(firsts) & inside(lasts) & inside(0.5 * (firsts + lasts))
        for first, last in zip(firsts[kept], lasts[kept], strict=True):
            score = min(_clearance(first, last, operators, axes), _WANTED_DISTANCE)
            if score > best_score:
                best, best_score = (first, last), score
        if best_score >= 0.8 * _WANTED_DISTANCE:
            break
    return best


def _clearance(first: Floats, last: Floats, operators: Floats, axes: Floats) -> float:
    points = np.linspace(first, last, 6)
    mates = np.einsum("sij,pj->spi", operators, points)
    nearest = np.inf
    if len(axes):
        nearest = np.linalg.norm(mates.reshape(-1, 1, 3) - axes[None], axis=2).min()
    if len(operators) > 1:
        nearest = min(nearest, np.linalg.norm(mates[1:, :, None] - points[None, None], axis=3).min())
    return float(nearest)


def _helix(first: Floats, last: Floats, phase: float) -> list[Floats]:
    """Atoms [8, 3] of each residue of a straight alpha helix."""
    along = last - first
    length = float(np.linalg.norm(along))
    along = along / max(length, 1e-9)
    across = np.cross(along, (1.0, 0.0, 0.0) if abs(along[0]) < 0.9 else (0.0, 1.0, 0.0))
    across /= np.linalg.norm(across)
    third = np.cross(along, across)
    found = []
    for number in range(max(1, round(length / _RISE))):
        angle = phase + number * _TURN + np.deg2rad([row[2] for row in _HELIX_ATOMS])
        radius = np.array([row[1] for row in _HELIX_ATOMS])
        height = number * _RISE + np.array([row[3] for row in _HELIX_ATOMS])
        ring = np.outer(radius * np.cos(angle), across) + np.outer(radius * np.sin(angle), third)
        found.append(first + ring + np.outer(height, along))
    return found


def _loop(first: Floats, last: Floats, stream: np.random.Generator) -> list[Floats]:
    """Residues strung between two points, their atoms about the string."""
    distance = float(np.linalg.norm(last - first))
    count = int(np.clip(round(distance / _LOOP_STEP), *_LOOP_RESIDUES))
    string = np.linspace(first, last, count + 2)[1:-1]
    return [point + 1.6 * stream.standard_normal((len(_HELIX_ATOMS), 3)) for point in string]


def _unit_vectors(stream: np.random.Generator, count: int) -> Floats:
    directions = stream.standard_normal((count, 3))
    return np.asarray(directions / np.sqrt(np.square(directions).sum(axis=1, keepdims=True)))
