"""Particles are cut where they were picked, with the defocus of their own place; what cannot be cut is counted."""

from __future__ import annotations

import numpy as np
import pytest

from cryorepro.em.picking.extraction import Plane, cut_particles
from cryorepro.em.picking.picks import Picks
from cryorepro.em.reextraction import Cutting


def at(*places: tuple[float, float]) -> Picks:
    count = len(places)
    ones = np.ones(count)
    return Picks(np.array(places), ones, ones, ones, np.ones(count, dtype=np.int64), ones)


def test_only_whole_boxes_are_cut_around_the_nearest_pixel() -> None:
    image = np.random.default_rng(1).standard_normal((100, 140))
    cutting = Cutting(32, 32, normalise=False)
    found = cut_particles(
        image, at((16.0, 16.0), (15.4, 50.0), (124.4, 84.0), (125.0, 50.0), (60.3, 40.7)), cutting, None
    )
    np.testing.assert_array_equal(found.picks.at_px, [[16, 16], [124, 84], [60, 41]])
    assert found.dropped == {"edge": 2, "duplicate": 0, "flat": 0}
    np.testing.assert_allclose(found.images[2], image[41 - 16 : 41 + 16, 60 - 16 : 60 + 16].astype(np.float32))
    assert found.shape == (100, 140)


def test_of_near_picks_the_first_stays_and_flat_boxes_go() -> None:
    image = np.random.default_rng(2).standard_normal((200, 200))
    image[120:, 120:] = 3.0
    found = cut_particles(image, at((50.0, 50.0), (53.0, 54.0), (160.0, 160.0), (90.0, 50.0)), Cutting(32, 16), 6.0)
    np.testing.assert_array_equal(found.picks.at_px, [[50, 50], [90, 50]])
    assert found.dropped == {"edge": 0, "duplicate": 1, "flat": 1}
    y, x = np.indices((16, 16)) - 8
    outside = found.images[:, x**2 + y**2 > 36.0].astype(np.float64)
    assert np.abs(outside.mean(axis=1)).max() < 1e-6 and outside.std(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_contrast_is_turned_so_that_particles_are_bright() -> None:
    y, x = np.indices((80, 80))
    image = np.random.default_rng(3).normal(0.0, 0.1, (80, 80)) - np.exp(-((x - 40) ** 2 + (y - 40) ** 2) / 20.0)
    found = cut_particles(image, at((40.0, 40.0)), Cutting(48, 24, invert_contrast=True), None)
    assert np.unravel_index(found.images[0].argmax(), (24, 24)) == (12, 12)


def test_a_plane_is_counted_from_the_middle() -> None:
    plane = Plane(20_000.0, 0.5, -0.25)
    assert plane.at(np.array([[500.0, 400.0], [600.0, 400.0], [500.0, 0.0]]), (800, 1000)).tolist() == [
        20_000.0, 20_050.0, 20_100.0,
    ]  # fmt: skip
