"""How well 2D classes tell the views of a particle apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryorepro.model.outcome import MetricValue
from cryorepro.plugins.interfaces import MetricContext
from cryorepro_metrics.assignments import pair


class ClassViewAngle:
    """Median angle between a particle's true direction of view and the mean direction of its class."""

    def measure(self, context: MetricContext) -> MetricValue:
        """In degrees; the same for classes dealt at random, and the classes in use, among the details.

        Raises:
            InputError: found and true particles are not the same images.
        """
        pairing = pair(context.artifacts["particles"], context.truth["particles"])
        directions = view_directions(pairing.true.angles_degrees)
        found = pairing.found.column("rlnClassNumber")
        # the same class sizes with members exchanged: what these sizes give without any order
        exchanged = np.random.default_rng(0).permutation(found)
        details = {
            "at_random_degrees": float(np.median(angles_to_class_mean(directions, exchanged))),
            "classes_in_use": len(np.unique(found)),
        }
        value = float(np.median(angles_to_class_mean(directions, found)))
        return MetricValue(value=value, unit="degrees", details=details)


def view_directions(angles_degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors ``[n, 3]`` of (rot, tilt, psi) ``[n, 3]`` in degrees."""
    rot, tilt = np.deg2rad(angles_degrees[:, 0]), np.deg2rad(angles_degrees[:, 1])
    return np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], axis=1)


def angles_to_class_mean(directions: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Angle ``[n]`` in degrees of each direction to the mean direction of its class."""
    numbers, member = np.unique(classes, return_inverse=True)
    total = np.zeros((len(numbers), 3))
    np.add.at(total, member, directions)
    mean = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return np.asarray(np.rad2deg(np.arccos(np.clip((directions * mean[member]).sum(axis=1), -1.0, 1.0))))
