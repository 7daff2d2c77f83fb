"""Random phases for the transform of a real map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cryorepro.em.transforms import Spectrum

Angles = npt.NDArray[np.float32]


def randomise_from(spectrum: Spectrum, from_shell: float, generator: np.random.Generator) -> None:
    """Turn every coefficient ``[n, n, n // 2 + 1]`` at ``|k| >= from_shell`` by a random angle, in place.

    A uniform angle added to a phase leaves a uniform phase, whatever it was. On the planes kx = 0 and kx = n / 2,
    which hold their own Friedel mates, opposite coefficients turn by opposite angles, as a real map demands; the
    seven coefficients on them that are their own mates are real and stay as they are.
    """
    box = spectrum.shape[0]
    full = np.fft.fftfreq(box, 1.0 / box)
    squared = full[:, None] ** 2 + np.arange(box // 2 + 1) ** 2
    sides = [_opposite_angles(box, generator) for _ in range(2)]
    turn = np.empty(spectrum.shape[1:], dtype=spectrum.dtype)
    for plane, kz in enumerate(full.tolist()):
        angle = generator.random(turn.shape, dtype=np.float32)
        angle *= np.float32(2.0 * np.pi)
        angle[:, 0], angle[:, -1] = sides[0][plane], sides[1][plane]
        if abs(kz) < from_shell:
            angle[squared < from_shell**2 - kz * kz] = 0.0
        np.cos(angle, out=turn.real, casting="same_kind")
        np.sin(angle, out=turn.imag, casting="same_kind")
        spectrum[plane] *= turn


def _opposite_angles(box_px: int, generator: np.random.Generator) -> Angles:
    """Angles ``[kz, ky]`` in rad whose opposite at (-kz, -ky) is minus them: differences of two uniform ones."""
    drawn = generator.random((box_px, box_px), dtype=np.float32)
    mates = -np.arange(box_px)
    difference: Angles = (drawn - drawn[np.ix_(mates, mates)]) * np.float32(2.0 * np.pi)
    return difference
