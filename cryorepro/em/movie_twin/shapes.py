"""The particles that polymers stand in for: a proteasome's barrel, and a receptor with its G protein."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.atomic import AtomicModel
from cryorepro.em.movie_twin.polymer import Chain, Floats, grow_polymer
from cryorepro.em.streams import random_stream
from cryorepro.em.symmetry import symmetry_matrices

BARREL_LENGTH_ANGSTROM, BARREL_DIAMETER_ANGSTROM = 148.0, 113.0
_BARREL_INNER_RADIUS = 20.0
_SUBUNIT_RESIDUES = 228  # 28 subunits of 25 kDa: 700 kDa
_MARGIN = 5.0  # side chains reach beyond the axis of their helix
_WEDGE = np.deg2rad(33.0)


def proteasome(seed: int) -> AtomicModel:
    """A barrel of four rings of seven, 113 A by 148 A and 700 kDa, with D7 about RELION's axes (7 along z).

    Sizes: Loewe et al., Science 268 (1995) 533, the 20S proteasome of T. acidophilum.
    """
    stream = random_stream(seed, "phantom/barrel")
    outer = BARREL_DIAMETER_ANGSTROM / 2.0 - _MARGIN
    end = BARREL_LENGTH_ANGSTROM / 2.0 - _MARGIN
    chains = [
        Chain("A", _SUBUNIT_RESIDUES, (38.0, 0.0, 56.0), _sector(39.0, end, outer)),
        Chain("B", _SUBUNIT_RESIDUES, (38.0, 0.0, 20.0), _sector(3.0, 35.0, outer)),
    ]
    return grow_polymer("barrel", chains, symmetry_matrices("D7"), stream)


def receptor_complex(seed: int) -> AtomicModel:
    """Seven rods across a membrane (normal along z) with a G protein and an antibody fragment below it; C1.

    About the masses and places of chains R, A, B, C and S of PDB 6N4B.
    """
    stream = random_stream(seed, "phantom/receptor")
    chains = [
        Chain("R", 285, (0.0, 0.0, 20.0), _ellipsoid((0.0, 0.0, 4.0), (16.0, 16.0, 30.0))),
        Chain("A", 220, (4.0, 4.0, -34.0), _ellipsoid((6.0, 8.0, -42.0), (24.0, 22.0, 20.0))),
        Chain("B", 395, (-20.0, -10.0, -55.0), _ellipsoid((-20.0, -10.0, -59.0), (28.0, 26.0, 21.0))),
        Chain("S", 235, (26.0, -18.0, -57.0), _ellipsoid((32.0, -16.0, -57.0), (18.0, 23.0, 20.0))),
    ]
    return grow_polymer("receptor complex", chains, np.eye(3)[None], stream)


def _sector(lowest: float, highest: float, outer: float) -> Callable[[Floats], NDArray[np.bool_]]:
    def inside(points: Floats) -> NDArray[np.bool_]:
        radius, angle = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
        across = (radius > _BARREL_INNER_RADIUS) & (radius < outer) & (np.abs(angle) < _WEDGE)
        along = (points[:, 2] > lowest) & (points[:, 2] < highest)
        return np.asarray(along & across)

    return inside


def _ellipsoid(
    centre: tuple[float, float, float], semi_axes: tuple[float, float, float]
) -> Callable[[Floats], NDArray[np.bool_]]:
    def inside(points: Floats) -> NDArray[np.bool_]:
        return np.asarray(np.square((points - np.asarray(centre)) / np.asarray(semi_axes)).sum(axis=1) < 1.0)

    return inside
