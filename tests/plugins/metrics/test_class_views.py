"""The angle of views to their class's mean direction, on directions for which it is known."""

from __future__ import annotations

import numpy as np
import pytest
from cryorepro_metrics.views import angles_to_class_mean, view_directions


def test_views_on_a_cone_around_their_class_lie_at_the_cones_angle() -> None:
    rot = np.arange(0.0, 360.0, 30.0)
    cone = np.stack([rot, np.full_like(rot, 20.0), rot], axis=1)
    there, opposite = view_directions(cone), -view_directions(cone)
    classes = np.repeat([4, 9], len(rot))
    angles = angles_to_class_mean(np.concatenate([there, opposite]), classes)
    assert angles == pytest.approx(np.full(2 * len(rot), 20.0))


def test_directions_without_order_lie_at_ninety_degrees_in_the_median() -> None:
    stream = np.random.default_rng(2)
    directions = stream.normal(size=(4000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    angles = angles_to_class_mean(directions, stream.integers(0, 3, 4000))
    assert np.median(angles) == pytest.approx(90.0, abs=3.0)
