"""Where the specimen is in each frame: a drift of the whole stage, and beam-induced motion that relaxes.

The specimen drifts quickly at first, then slowly, with a little jitter.  Beam-induced motion adds a field that is
smooth in space (a polynomial of second degree, as domes and buckles of the ice look from above) and comes to rest as
the exposure grows: half of it with a short constant, half with a longer one, so that no single curve fits it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TERMS = 6  # 1, u, v, u^2, u v, v^2
_FAST, _SLOW = 5.0, 18.0
_DECIMALS = 5


@dataclass(frozen=True)
class MotionAmplitudes:
    """How far things move, in Angstrom over the whole exposure.

    Attributes:
        early_angstrom: Drift that dies out with the first electrons.
        steady_angstrom: Drift at constant speed.
        jitter_angstrom: Deviation of each frame from the smooth path.
        local_angstrom: Greatest displacement that the beam induces within the micrograph, against its middle.
    """

    early_angstrom: float
    steady_angstrom: float
    jitter_angstrom: float
    local_angstrom: float


@dataclass(frozen=True)
class MovieMotion:
    """Displacements of the specimen in pixels, zero in the first frame.

    Attributes:
        shape: (rows, columns) of the micrograph.
        drift_px: float64 [frames, 2], (x, y).
        field_px: float64 [frames, 2, 6], coefficients for x and for y of 1, u, v, u^2, u v, v^2 with
            u = x / columns - 1/2 and v = y / rows - 1/2.
    """

    shape: tuple[int, int]
    drift_px: Floats
    field_px: Floats

    def local(self, points_px: Floats) -> Floats:
        """What the field adds at ``points_px [n, 2]`` (x, y), float64 [frames, n, 2]."""
        return np.asarray(np.einsum("fcj,nj->fnc", self.field_px, field_terms(points_px, self.shape)))

    def displacement(self, points_px: Floats) -> Floats:
        """How far the specimen at ``points_px [n, 2]`` of the first frame has moved, float64 [frames, n, 2]."""
        return self.drift_px[:, None] + self.local(points_px)


def field_terms(points_px: Floats, shape: tuple[int, int]) -> Floats:
    """The six terms of the local field at points ``[n, 2]`` (x, y), float64 [n, 6]."""
    u, v = points_px[:, 0] / shape[1] - 0.5, points_px[:, 1] / shape[0] - 0.5
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)


def draw_motion(
    stream: np.random.Generator,
    exposures: Floats,
    shape: tuple[int, int],
    amplitudes: MotionAmplitudes,
    pixel_size_angstrom: float,
) -> MovieMotion:
    """Draw the motion of one movie whose frames lie at ``exposures`` e/A^2; rounded as the truth is written."""
    drift = _drift(stream, exposures, amplitudes)
    local = _local(stream, exposures) * amplitudes.local_angstrom
    return MovieMotion(
        shape, np.round(drift / pixel_size_angstrom, _DECIMALS), np.round(local / pixel_size_angstrom, _DECIMALS)
    )


def _relaxed(exposures: Floats, constant: float) -> Floats:
    """From 0 in the first frame towards 1."""
    done = 1.0 - np.exp(-(exposures - exposures[0]) / constant)
    return np.asarray(done, dtype=np.float64)


def _drift(stream: np.random.Generator, exposures: Floats, amplitudes: MotionAmplitudes) -> Floats:
    angles = stream.uniform(0.0, 2.0 * np.pi, 2)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    sizes = stream.uniform(0.5, 1.0, 2) * (amplitudes.early_angstrom, amplitudes.steady_angstrom)
    share = (exposures - exposures[0]) / max(float(exposures[-1]), 1e-9)
    path = np.outer(_relaxed(exposures, _FAST), sizes[0] * directions[0]) + np.outer(share, sizes[1] * directions[1])
    jitter = amplitudes.jitter_angstrom * stream.standard_normal((len(exposures), 2))
    jitter[0] = 0.0
    return np.asarray(path + jitter)


def _local(stream: np.random.Generator, exposures: Floats) -> Floats:
    """Coefficients [frames, 2, 6] of a field whose greatest displacement, at rest, is between 0.5 and 1."""
    edge = np.linspace(-0.5, 0.5, 9)
    u, v = (axis.ravel() for axis in np.meshgrid(edge, edge))
    terms = field_terms(np.stack([u + 0.5, v + 0.5], axis=1), (1, 1))
    total = np.zeros((len(exposures), 2, TERMS))
    for constant in (_FAST, _SLOW):
        coefficients = stream.standard_normal((2, TERMS)) * (0.0, 1.0, 1.0, 2.0, 2.0, 2.0)
        total += 0.5 * _relaxed(exposures, constant)[:, None, None] * coefficients
    greatest = np.linalg.norm(total[-1] @ terms.T, axis=0).max()
    return np.asarray(total * (stream.uniform(0.5, 1.0) / max(float(greatest), 1e-9)))
