"""A procedural ribosome: hundreds of Gaussian blobs in the shape of two subunits, in three conformers.

It is not an atomic model. It has what classification and refinement of a ribosome at 15 to 25 Angstrom
depend on: a large subunit with its protuberance and stalks, a small one with body, platform, head and beak,
rough surfaces, contrast at every resolution, no symmetry, and conformers that differ by a subunit and by a
rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import BlobModel, euler_matrices
from cryorepro.em.streams import random_stream

CONFORMERS = ("full", "large-subunit", "rotated")
"""Names of the conformers in the order of their class numbers, 1 to 3."""

Floats = NDArray[np.float64]
_SIGMAS_ANGSTROM = (4.0, 5.0, 7.0)
_SIGMA_SHARES = (0.45, 0.35, 0.20)
_SPACING_ANGSTROM = 11.0
_ROLL_DEGREES = 35.0  # about y, the long axis of the small subunit
_SWIVEL_DEGREES = 30.0  # about z, the axis through both subunits


@dataclass(frozen=True)
class Lobe:
    """An ellipsoid filled with blobs: centre and semi-axes (x, y, z) in Angstrom, tilt about y in degrees."""

    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    blobs: int
    tilt_degrees: float = 0.0


# z runs from the large (negative) to the small subunit (positive); y is the long axis of the small subunit.
LARGE_SUBUNIT = (
    Lobe((0.0, 0.0, -48.0), (105.0, 98.0, 68.0), 560),  # core
    Lobe((0.0, 104.0, -25.0), (34.0, 26.0, 30.0), 36),  # central protuberance
    Lobe((-112.0, 55.0, -18.0), (30.0, 22.0, 20.0), 24, 25.0),  # L1 stalk
    Lobe((110.0, 30.0, -8.0), (38.0, 14.0, 14.0), 20, -20.0),  # P stalk
    Lobe((30.0, -70.0, -100.0), (30.0, 40.0, 24.0), 30),  # expansion segments at the back
)
SMALL_SUBUNIT = (
    Lobe((0.0, -38.0, 52.0), (56.0, 72.0, 36.0), 230, 10.0),  # body
    Lobe((-42.0, 8.0, 40.0), (26.0, 30.0, 24.0), 34),  # platform
    Lobe((6.0, 70.0, 56.0), (52.0, 34.0, 38.0), 120),  # head
    Lobe((62.0, 78.0, 62.0), (26.0, 12.0, 14.0), 16, -15.0),  # beak
    Lobe((28.0, -112.0, 46.0), (18.0, 28.0, 16.0), 18),  # foot
)
FACTOR = (Lobe((66.0, -8.0, 12.0), (24.0, 20.0, 22.0), 28),)


def ribosome(seed: int) -> tuple[BlobModel, BlobModel, BlobModel]:
    """The three conformers, in the order of `CONFORMERS`, of the particle drawn from `seed`.

    1 both subunits; 2 the large subunit alone; 3 both, the small one swivelled by 30 and rolled by 35
    degrees, with a factor in the cleft. All share the frame of the large subunit, whose origin is the centre
    of mass of 1.
    """
    large = _fill(LARGE_SUBUNIT, random_stream(seed, "phantom/large-subunit"))
    small = _fill(SMALL_SUBUNIT, random_stream(seed, "phantom/small-subunit"))
    factor = _fill(FACTOR, random_stream(seed, "phantom/factor"))
    full = _join(large, small)
    origin = np.average(full.centres_angstrom, axis=0, weights=full.masses)
    models = (full, large, _join(large, _rolled(small), factor))
    return _moved(models[0], -origin), _moved(models[1], -origin), _moved(models[2], -origin)


def _fill(lobes: tuple[Lobe, ...], stream: np.random.Generator) -> BlobModel:
    centres = np.concatenate([_packed_points(lobe, stream) for lobe in lobes])
    sigmas = stream.choice(_SIGMAS_ANGSTROM, size=len(centres), p=_SIGMA_SHARES)
    # Wide blobs stand for more matter, so that all reach about the same density.
    masses = (sigmas / 5.0) ** 2 * stream.uniform(0.6, 1.4, size=len(centres))
    return BlobModel(np.round(centres, 3), sigmas, np.round(masses, 6))


def _packed_points(lobe: Lobe, stream: np.random.Generator) -> Floats:
    """Points in the ellipsoid, each as far from the earlier ones as the best of 12 random trials."""
    points = np.empty((lobe.blobs, 3))
    for i in range(lobe.blobs):
        trials = _in_unit_ball(stream, 12) * lobe.semi_axes
        if i == 0:
            points[0] = trials[0]
            continue
        nearest = np.square(trials[:, None] - points[None, :i]).sum(axis=2).min(axis=1)
        good = nearest > _SPACING_ANGSTROM**2
        points[i] = trials[int(np.argmax(good))] if good.any() else trials[int(np.argmax(nearest))]
    tilted: Floats = points @ euler_matrices(np.array([[0.0, lobe.tilt_degrees, 0.0]]))[0].T
    tilted += np.asarray(lobe.centre)
    return tilted


def _in_unit_ball(stream: np.random.Generator, count: int) -> Floats:
    directions = stream.standard_normal((count, 3))
    radii = np.cbrt(stream.random(count))
    points: Floats = directions * (radii / np.sqrt(np.square(directions).sum(axis=1)))[:, None]
    return points


def _rolled(small: BlobModel) -> BlobModel:
    pivot = np.average(small.centres_angstrom, axis=0, weights=small.masses)
    rotation = euler_matrices(np.array([[_SWIVEL_DEGREES, _ROLL_DEGREES, 0.0]]))[0]
    turned = (small.centres_angstrom - pivot) @ rotation.T + pivot
    return BlobModel(turned, small.sigmas_angstrom, small.masses)


def _join(*models: BlobModel) -> BlobModel:
    return BlobModel(
        np.concatenate([model.centres_angstrom for model in models]),
        np.concatenate([model.sigmas_angstrom for model in models]),
        np.concatenate([model.masses for model in models]),
    )


def _moved(model: BlobModel, shift: Floats) -> BlobModel:
    return BlobModel(model.centres_angstrom + shift, model.sigmas_angstrom, model.masses)
