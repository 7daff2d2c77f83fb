"""Particles seen from a few fixed directions, for 2D classification: which view each shows is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryorepro.em.blobs import euler_matrices
from cryorepro.em.simulate import Views, simulate_images
from cryorepro.em.streams import random_stream
from tests.em.simulated import SimulatedSet, simulated_set


@dataclass(frozen=True)
class ViewSet:
    """A simulated set, the view ``[n]`` each image shows, and the views' directions ``[v, 2]`` (rot, tilt)."""

    data: SimulatedSet
    which: NDArray[np.int64]
    directions: NDArray[np.float64]

    def projection(self, view: int, psi_deg: float = 0.0) -> NDArray[np.float64]:
        """The true projection ``[n, n]`` of a view without CTF, in the images' scale."""
        imaging = self.data.imaging
        matrix = euler_matrices(np.array([[*self.directions[view], psi_deg]]))
        transform = self.data.models[0].project(matrix, imaging.box_px, imaging.pixel_size_angstrom)
        image: NDArray[np.float64] = self.data.scale * np.fft.irfft2(transform, s=(imaging.box_px,) * 2)[0]
        return image


def view_set(
    count: int,
    views: int,
    box_px: int = 64,
    pixel_size_angstrom: float = 7.54,
    snr: float = 0.3,
    seed: int = 1,
    shift_px: float = 1.5,
) -> ViewSet:
    """``count`` images of one particle from ``views`` directions at random in-plane angles and shifts."""
    base = simulated_set(8, box_px, pixel_size_angstrom, snr, seed)
    stream = random_stream(seed, "tests/fixed-views")
    tilt = np.rad2deg(np.arccos(stream.uniform(-1.0, 1.0, views)))
    directions = np.stack([stream.uniform(-180.0, 180.0, views), tilt], axis=1)
    which = stream.integers(0, views, count)
    angles = np.concatenate([directions[which], stream.uniform(-180.0, 180.0, (count, 1))], axis=1)
    shifts = stream.normal(0.0, shift_px, (count, 2)).clip(-4.0, 4.0) * pixel_size_angstrom
    u = stream.uniform(10_000.0, 30_000.0, count)
    defocus = np.stack([u, u - stream.uniform(0, 500, count), stream.uniform(0, 180, count)], axis=1)
    seen = Views(np.zeros(count, dtype=np.int64), angles, shifts, defocus)
    noise = random_stream(seed, "tests/noise")
    images = np.concatenate(list(simulate_images(base.models, seen, base.imaging, base.scale, noise)))
    return ViewSet(SimulatedSet(images, seen, base.imaging, base.models, base.scale), which, directions)


def purity(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Share of the particles that show the commonest view of their class."""
    return float(_table(found, true).max(axis=1).sum() / len(found))


def adjusted_rand(found: NDArray[np.int64], true: NDArray[np.int64]) -> float:
    """Hubert & Arabie 1985, J. Classif. 2, 193, equation 5: pairs put together alike, 0 by chance and 1 when equal."""
    table = _table(found, true).astype(np.float64)

    def pairs(values: NDArray[np.float64]) -> float:
        return float((values * (values - 1.0) / 2.0).sum())

    both, left, right = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    chance = left * right / pairs(np.array([float(len(found))]))
    return (both - chance) / (0.5 * (left + right) - chance)


def _table(found: NDArray[np.int64], true: NDArray[np.int64]) -> NDArray[np.int64]:
    table = np.zeros((int(found.max()) + 1, int(true.max()) + 1), dtype=np.int64)
    np.add.at(table, (found, true), 1)
    return table
